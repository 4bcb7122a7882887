-- ?1 lock key or null, ?2 concurrency key or null
SELECT result_id, TRUE AS lock, COALESCE(leased_by, '') AS worker_id, CAST(round(unixepoch(COALESCE(last_attempted_at, updated_at), 'subsec') * 1000) AS INTEGER) * 1000 AS since_us
  FROM task_runs WHERE status = 'RUNNING' AND lock_key = ?1 AND lock_key <> '' AND slot_no IS NOT NULL
UNION ALL
SELECT * FROM (
    SELECT result_id, FALSE, COALESCE(leased_by, ''), CAST(round(unixepoch(COALESCE(last_attempted_at, updated_at), 'subsec') * 1000) AS INTEGER) * 1000
      FROM task_runs WHERE status = 'RUNNING' AND concurrency_key = ?2 AND concurrency_key <> '' AND slot_no IS NOT NULL
     ORDER BY slot_no LIMIT 200)
