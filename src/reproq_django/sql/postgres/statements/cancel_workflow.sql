-- RUNNING -> CANCELLED for a workflow as a whole; its runs are cancelled one by one: unfinished_members.sql finds them. Answers with what
-- it is then. In a transaction its row stays locked, so that no worker lets anything go that waits in it.
UPDATE workflow_runs SET updated_at = clock_timestamp(),
    status = CASE WHEN status IN ('RUNNING', 'WAITING_CALLBACK') THEN 'CANCELLED' ELSE status END,
    finished_at = CASE WHEN status IN ('RUNNING', 'WAITING_CALLBACK') THEN clock_timestamp() ELSE finished_at END
 WHERE workflow_id = %(id)s::uuid
RETURNING status
