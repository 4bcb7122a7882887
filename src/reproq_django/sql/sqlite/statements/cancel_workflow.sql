-- RUNNING -> CANCELLED for a workflow as a whole; its runs are cancelled one by one: unfinished_members.sql finds them. Answers with what
-- it is then. In a transaction its row stays locked, so that no worker lets anything go that waits in it.
UPDATE workflow_runs SET updated_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'),
    status = CASE WHEN status IN ('RUNNING', 'WAITING_CALLBACK') THEN 'CANCELLED' ELSE status END,
    finished_at = CASE WHEN status IN ('RUNNING', 'WAITING_CALLBACK') THEN strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now') ELSE finished_at END
 WHERE workflow_id = %(id)s
RETURNING status
