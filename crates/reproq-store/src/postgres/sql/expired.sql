-- Runs whose worker has stopped renewing. finish.sql looks at the lease again before it takes them.
-- A row that somebody holds is left for the next look: finish.sql would wait for it, and all the others with it.
-- $1 limit, $2 the asker's incarnation
SELECT result_id, epoch, attempts, max_attempts, crash_count, COALESCE(leased_by, '') AS worker_id
  FROM task_runs WHERE status = 'RUNNING' AND leased_until < clock_timestamp()
   AND incarnation IS DISTINCT FROM $2 LIMIT $1
   FOR NO KEY UPDATE SKIP LOCKED
