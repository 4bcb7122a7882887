-- Runs of a step that have not ended, or have ended badly: what keeps those that wait for it. The bad ones first.
-- $1 id, $2 step, $3 limit
SELECT r.result_id, r.status, r.queue_name, r.task_path, r.step, r.after_step, r.last_error
  FROM task_runs r WHERE r.workflow_id = $1 AND r.step = $2 AND r.status <> 'SUCCESSFUL'
 ORDER BY CASE WHEN r.status IN ('FAILED', 'CANCELLED') THEN 0 WHEN r.status = 'RUNNING' THEN 1 ELSE 2 END, r.result_id LIMIT $3
