-- $1 lock key or null, $2 concurrency key or null
SELECT result_id, TRUE AS lock, COALESCE(leased_by, '') AS worker_id, (extract(epoch FROM COALESCE(last_attempted_at, updated_at)) * 1000000)::bigint AS since_us
  FROM task_runs WHERE status = 'RUNNING' AND lock_key = $1 AND lock_key <> '' AND slot_no IS NOT NULL
UNION ALL
(SELECT result_id, FALSE, COALESCE(leased_by, ''), (extract(epoch FROM COALESCE(last_attempted_at, updated_at)) * 1000000)::bigint
  FROM task_runs WHERE status = 'RUNNING' AND concurrency_key = $2 AND concurrency_key <> '' AND slot_no IS NOT NULL
 ORDER BY slot_no LIMIT 200)
