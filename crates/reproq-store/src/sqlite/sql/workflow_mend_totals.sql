-- The same for the workflow's row.
-- ?1 id
UPDATE workflow_runs SET updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), success_count = t.succeeded,
    failure_count = expected_count - t.succeeded - t.pending
  FROM (SELECT count(*) FILTER (WHERE r.status = 'SUCCESSFUL') AS succeeded,
               count(*) FILTER (WHERE r.status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')) AS pending
          FROM task_runs r WHERE r.workflow_id = ?1 AND r.step IS NOT NULL) t
 WHERE workflow_id = ?1
