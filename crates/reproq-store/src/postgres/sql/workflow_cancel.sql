-- RUNNING -> CANCELLED for a workflow as a whole; its runs are cancelled one by one. Answers with what it is then.
-- $1 id
UPDATE workflow_runs SET updated_at = clock_timestamp(),
    status = CASE status WHEN 'RUNNING' THEN 'CANCELLED' ELSE status END,
    finished_at = CASE status WHEN 'RUNNING' THEN clock_timestamp() ELSE finished_at END
 WHERE workflow_id = $1 RETURNING status
