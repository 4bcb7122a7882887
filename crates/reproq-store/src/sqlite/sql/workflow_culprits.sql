-- Whom steps have failed for, when the one that was named runs again and the step is bad all the same.
-- ?1 a JSON array of arrays: id, step
UPDATE reproq_workflow_steps SET culprit = COALESCE((
        SELECT CASE json_extract(x.errors_json, '$[#-1].kind') WHEN 'workflow_failed' THEN json_extract(x.errors_json, '$[#-1].failed_result_id')
               ELSE x.result_id END
          FROM task_runs x INDEXED BY reproq_task_runs_workflow
         WHERE x.workflow_id = reproq_workflow_steps.workflow_id AND x.step = reproq_workflow_steps.step
           AND x.status IN ('FAILED', 'CANCELLED')
         ORDER BY x.finished_at, x.result_id LIMIT 1), culprit)
  FROM json_each(?1) e WHERE workflow_id = e.value ->> 0 AND step = e.value ->> 1
RETURNING workflow_id, step, culprit
