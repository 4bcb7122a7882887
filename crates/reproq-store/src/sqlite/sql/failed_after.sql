-- ?1 id, ?2 queue or null, ?3 limit
SELECT result_id FROM task_runs
 WHERE status = 'FAILED' AND result_id > ?1 AND (?2 IS NULL OR queue_name = ?2) ORDER BY result_id LIMIT ?3
