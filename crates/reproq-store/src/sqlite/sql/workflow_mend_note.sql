-- Has all steps of a workflow looked at again.
-- ?1 id
INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
SELECT s.workflow_id, s.step, 0, 0, 0 FROM reproq_workflow_steps s WHERE s.workflow_id = ?1
