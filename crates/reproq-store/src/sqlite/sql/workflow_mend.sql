-- Puts right what is stored of a workflow's steps, by its runs. Of runs that have been deleted only the count is left, so nothing that
-- has gone badly is forgotten while some are missing.
-- ?1 id
WITH actual AS MATERIALIZED (
    SELECT r.step, count(*) AS runs, count(*) FILTER (WHERE r.status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')) AS pending,
           count(*) FILTER (WHERE r.status IN ('FAILED', 'CANCELLED')) AS failed,
           min(r.result_id) FILTER (WHERE r.status IN ('FAILED', 'CANCELLED')) AS culprit
      FROM task_runs r WHERE r.workflow_id = ?1 AND r.step IS NOT NULL GROUP BY r.step
), mended AS MATERIALIZED (
    SELECT x.step AS number, COALESCE(a.pending, 0) AS pending, a.culprit AS found,
           CASE WHEN w.expected_count = (SELECT sum(runs) FROM actual) THEN COALESCE(a.failed, 0)
                ELSE max(x.failed, COALESCE(a.failed, 0)) END AS failed
      FROM reproq_workflow_steps x JOIN workflow_runs w ON w.workflow_id = x.workflow_id LEFT JOIN actual a ON a.step = x.step
     WHERE x.workflow_id = ?1
)
UPDATE reproq_workflow_steps SET pending = m.pending, failed = m.failed,
    culprit = CASE WHEN m.failed > 0 THEN COALESCE(culprit, m.found) END
  FROM mended m WHERE workflow_id = ?1 AND step = m.number
