-- The steps of a workflow, and whom each has failed for.
-- ?1 id
SELECT s.step, s.pending, s.failed, s.culprit, r.task_path, r.status, r.last_error
  FROM reproq_workflow_steps s LEFT JOIN task_runs r ON r.result_id = s.culprit
 WHERE s.workflow_id = ?1 ORDER BY s.step
