-- Somebody wants a whole workflow to end. Its row stays locked until the transaction is over: until then no worker advances it, so
-- that unfinished_members.sql, the next statement, finds all that is left. No row in the answer: there is no such workflow.
UPDATE workflow_runs SET
    status = CASE WHEN finished_at IS NULL AND status IN ('RUNNING', 'WAITING_CALLBACK') THEN 'CANCELLED' ELSE status END,
    updated_at = clock_timestamp()
 WHERE workflow_id = %(id)s::uuid
RETURNING status
