-- Puts right what is stored of a workflow's steps, by its runs. Of runs that have been deleted only the count is left, so nothing that
-- has gone badly is forgotten while some are missing. Nothing is done while there are events: they are for the count.
-- $1 id
WITH actual AS MATERIALIZED (
    SELECT r.step, count(*) AS runs, count(*) FILTER (WHERE r.status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')) AS pending,
           count(*) FILTER (WHERE r.status IN ('FAILED', 'CANCELLED')) AS failed,
           count(*) FILTER (WHERE r.status = 'SUCCESSFUL') AS succeeded,
           min(r.result_id) FILTER (WHERE r.status IN ('FAILED', 'CANCELLED')) AS culprit
      FROM task_runs r WHERE r.workflow_id = $1 AND r.step IS NOT NULL GROUP BY r.step
), sums AS MATERIALIZED (
    SELECT COALESCE(sum(a.runs), 0) AS runs, COALESCE(sum(a.pending), 0) AS pending, COALESCE(sum(a.succeeded), 0) AS succeeded FROM actual a
), mended AS (
    UPDATE reproq_workflow_steps s SET pending = m.pending, failed = m.failed,
        culprit = CASE WHEN m.failed > 0 THEN COALESCE(s.culprit, m.culprit) END
      FROM (SELECT x.step, COALESCE(a.pending, 0)::int AS pending, a.culprit,
                   CASE WHEN w.expected_count = t.runs THEN COALESCE(a.failed, 0) ELSE GREATEST(x.failed, COALESCE(a.failed, 0)) END::int AS failed
              FROM reproq_workflow_steps x JOIN workflow_runs w ON w.workflow_id = x.workflow_id CROSS JOIN sums t
              LEFT JOIN actual a ON a.step = x.step
             WHERE x.workflow_id = $1) AS m
     WHERE s.workflow_id = $1 AND s.step = m.step AND NOT EXISTS (SELECT FROM reproq_workflow_events e WHERE e.workflow_id = $1)
    RETURNING s.step
), whole AS (
    UPDATE workflow_runs w SET success_count = t.succeeded, failure_count = w.expected_count - t.succeeded - t.pending, updated_at = clock_timestamp()
      FROM sums t WHERE w.workflow_id = $1 AND EXISTS (SELECT FROM mended)
), noted AS (
    INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed) SELECT $1, m.step, 0, 0, 0 FROM mended m
), told AS (
    INSERT INTO reproq_meta (key, value) SELECT 'workflow_repairs', '1' WHERE EXISTS (SELECT FROM mended)
    ON CONFLICT (key) DO UPDATE SET value = (reproq_meta.value::bigint + 1)::text
)
SELECT count(*) AS steps FROM mended
