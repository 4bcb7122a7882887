-- What one start of a worker owns. Asked about one that has ended; finish.sql looks at the owner again.
-- $1 incarnation, $2 limit
SELECT result_id, epoch, attempts, max_attempts, crash_count, COALESCE(leased_by, '') AS worker_id
  FROM task_runs WHERE status = 'RUNNING' AND incarnation = $1 LIMIT $2
