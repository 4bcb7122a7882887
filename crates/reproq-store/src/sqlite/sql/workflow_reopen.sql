-- A workflow whose members are retried: it is RUNNING, even if it was cancelled.
-- ?1 id
UPDATE workflow_runs SET status = 'RUNNING', finished_at = NULL, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
 WHERE workflow_id = ?1 AND status IN ('FAILED', 'CANCELLED', 'SUCCESSFUL')
