-- ?1 queue or null, ?2 limit
SELECT result_id, queue_name, task_path, attempts, max_attempts, CAST(round(unixepoch(failed_at, 'subsec') * 1000) AS INTEGER) * 1000 AS failed_us, last_error FROM task_runs
 WHERE status = 'FAILED' AND (?1 IS NULL OR queue_name = ?1) ORDER BY failed_at DESC NULLS FIRST, result_id DESC LIMIT ?2
