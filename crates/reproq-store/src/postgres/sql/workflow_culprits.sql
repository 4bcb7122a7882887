-- Whom steps have failed for, when the one that was named runs again and the step is bad all the same.
-- $1 ids, $2 steps
UPDATE reproq_workflow_steps s SET culprit = COALESCE(c.culprit, s.culprit)
  FROM (SELECT g.workflow_id, g.step, b.culprit FROM unnest($1::uuid[], $2::int[]) AS g (workflow_id, step) CROSS JOIN LATERAL (
            SELECT CASE x.errors_json -> -1 ->> 'kind' WHEN 'workflow_failed' THEN (x.errors_json -> -1 ->> 'failed_result_id')::bigint
                   ELSE x.result_id END AS culprit
              FROM task_runs x WHERE x.workflow_id = g.workflow_id AND x.step = g.step AND x.status IN ('FAILED', 'CANCELLED')
             ORDER BY x.finished_at, x.result_id LIMIT 1) AS b) AS c
 WHERE s.workflow_id = c.workflow_id AND s.step = c.step
RETURNING s.workflow_id, s.step, s.culprit
