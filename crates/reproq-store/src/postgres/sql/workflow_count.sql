-- Counts. Whom a step has failed for stays while it is bad.
-- $1 ids, $2 steps, $3 ended, $4 of these badly, $5 the first of them
WITH events AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::int[], $5::bigint[]) AS e (workflow_id, step, ended, failed, first_bad)
), totals AS (
    UPDATE workflow_runs w SET success_count = w.success_count + t.ended - t.failed, failure_count = w.failure_count + t.failed,
        updated_at = clock_timestamp()
      FROM (SELECT e.workflow_id, sum(e.ended)::int AS ended, sum(e.failed)::int AS failed FROM events e GROUP BY e.workflow_id) AS t
     WHERE w.workflow_id = t.workflow_id
)
UPDATE reproq_workflow_steps s SET pending = s.pending - e.ended, failed = s.failed + e.failed,
    culprit = CASE WHEN s.failed + e.failed > 0 THEN COALESCE(s.culprit, e.first_bad) END
  FROM events e WHERE s.workflow_id = e.workflow_id AND s.step = e.step
RETURNING s.workflow_id, s.step, s.pending, s.failed, s.culprit
