-- The runs of a workflow.
-- ?1 id, ?2 after this run, ?3 limit
SELECT r.result_id, r.status, r.queue_name, r.task_path, r.step, r.after_step, r.last_error
  FROM task_runs r WHERE r.workflow_id = ?1 AND r.result_id > ?2 ORDER BY r.result_id LIMIT ?3
