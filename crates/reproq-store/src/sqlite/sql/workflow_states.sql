-- What workflows come to. failure_run: the run for the case of a failure, while it waits.
-- ?1 ids as a JSON array
SELECT w.workflow_id, w.status, w.expected_count, w.success_count, w.failure_count, w.final_step, s.pending, s.failed,
       (SELECT r.result_id FROM task_runs r WHERE r.result_id = w.failure_result_id AND r.status = 'WAITING') AS failure_run
  FROM json_each(?1) f CROSS JOIN workflow_runs w ON w.workflow_id = f.value
  LEFT JOIN reproq_workflow_steps s ON s.workflow_id = w.workflow_id AND s.step = w.final_step
