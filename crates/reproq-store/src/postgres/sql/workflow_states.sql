-- What workflows come to. failure_run: the run for the case of a failure, while it waits.
-- $1 ids
SELECT w.workflow_id, w.status, w.expected_count, w.success_count, w.failure_count, w.final_step, s.pending, s.failed,
       (SELECT r.result_id FROM task_runs r WHERE r.result_id = w.failure_result_id AND r.status = 'WAITING') AS failure_run
  FROM unnest($1::uuid[]) AS f (workflow_id) CROSS JOIN LATERAL (
    SELECT * FROM workflow_runs x WHERE x.workflow_id = f.workflow_id) AS w LEFT JOIN LATERAL (
    SELECT * FROM reproq_workflow_steps x WHERE x.workflow_id = f.workflow_id AND x.step = w.final_step) AS s ON TRUE
