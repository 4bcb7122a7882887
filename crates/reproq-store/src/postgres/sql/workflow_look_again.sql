-- Has the steps looked at again that these runs wait for: what is WAITING because of a retry is released, or failed, by the same rule.
-- $1 runs
INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
SELECT DISTINCT r.workflow_id, r.after_step, 0, 0, 0 FROM task_runs r
 WHERE r.result_id = ANY ($1::bigint[]) AND r.status = 'WAITING' AND r.workflow_id IS NOT NULL AND r.after_step IS NOT NULL
