-- Runs whose worker has stopped renewing. finish.sql looks at the lease again before it takes them.
-- ?1 limit, ?2 the asker's incarnation
SELECT result_id, epoch, attempts, max_attempts, crash_count, COALESCE(leased_by, '') AS worker_id
  FROM task_runs WHERE status = 'RUNNING' AND leased_until < strftime('%Y-%m-%d %H:%M:%f', 'now')
   AND incarnation IS NOT ?2 LIMIT ?1
