-- Somebody wants a whole workflow to end. It is the first statement of its transaction, which holds the write lock from then on, so
-- that unfinished_members.sql, the next one, finds all that is left. No row in the answer: there is no such workflow.
UPDATE workflow_runs SET
    status = CASE WHEN finished_at IS NULL AND status IN ('RUNNING', 'WAITING_CALLBACK') THEN 'CANCELLED' ELSE status END,
    updated_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')
 WHERE workflow_id = %(id)s
RETURNING status
