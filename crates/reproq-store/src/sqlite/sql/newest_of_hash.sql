-- ?1 spec hash
SELECT result_id FROM task_runs WHERE spec_hash = ?1 ORDER BY result_id DESC LIMIT 1
