-- RUNNING -> CANCELLED for a workflow as a whole; its runs are cancelled one by one. Answers with what it is then.
-- ?1 id
UPDATE workflow_runs SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
    status = CASE status WHEN 'RUNNING' THEN 'CANCELLED' ELSE status END,
    finished_at = CASE status WHEN 'RUNNING' THEN strftime('%Y-%m-%d %H:%M:%f', 'now') ELSE finished_at END
 WHERE workflow_id = ?1 RETURNING status
