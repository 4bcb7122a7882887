-- FAILED -> READY with a full budget; what went wrong stays in errors_json. Answers with the runs that it moved.
-- A member of a workflow becomes WAITING if the step that it waits for is not over, or a run of it is retried here. One that was ended
-- for the sake of another stays: it follows that one by itself. cancelled: CANCELLED runs, too.
-- A run whose twin is active stays as it is, and so does all but the first of several twins; active_twins.sql tells which.
-- A twin that commits at this very moment makes the unique index refuse the whole statement: look again, run by run.
WITH candidate AS MATERIALIZED (
    SELECT r.result_id, r.spec_hash, r.dedup, r.workflow_id, r.step, r.after_step FROM task_runs r
     WHERE r.result_id = ANY (%(ids)s::bigint[]) AND (r.status = 'FAILED' OR (r.status = 'CANCELLED' AND %(cancelled)s::bool))
       AND NOT (r.after_step IS NOT NULL AND COALESCE(r.errors_json -> -1 ->> 'kind' = 'workflow_failed', FALSE))
     ORDER BY r.result_id FOR NO KEY UPDATE
), chosen AS (
    SELECT min(c.result_id) AS result_id FROM candidate c
     WHERE c.dedup <> 2 OR NOT EXISTS (
        SELECT 1 FROM task_runs t WHERE t.spec_hash = c.spec_hash AND t.dedup = 2 AND t.status IN ('READY', 'RUNNING', 'WAITING'))
     GROUP BY CASE c.dedup WHEN 2 THEN c.spec_hash ELSE c.result_id::text END
), again AS MATERIALIZED (
    SELECT DISTINCT c.workflow_id, c.step FROM candidate c WHERE c.step IS NOT NULL
), waits AS MATERIALIZED (
    SELECT c.result_id FROM candidate c JOIN workflow_runs w ON w.workflow_id = c.workflow_id
      LEFT JOIN reproq_workflow_steps s ON s.workflow_id = c.workflow_id AND s.step = c.after_step
     WHERE c.after_step IS NOT NULL AND (s.pending > 0 OR (s.failed > 0 AND w.policy <> 'continue')
        OR EXISTS (SELECT FROM again a WHERE a.workflow_id = c.workflow_id AND a.step = c.after_step)
        OR EXISTS (SELECT FROM reproq_workflow_events e WHERE e.workflow_id = c.workflow_id AND e.step = c.after_step AND e.ended < 0))
), retried AS (
    UPDATE task_runs r SET
        status = CASE WHEN r.result_id IN (SELECT waits.result_id FROM waits) THEN 'WAITING' ELSE 'READY' END, run_after = clock_timestamp(), attempts = 0, crash_count = 0, started_at = NULL, finished_at = NULL,
        return_json = NULL, progress_json = NULL, last_error = NULL, failed_at = NULL, leased_until = NULL, leased_by = NULL, incarnation = NULL,
        slot_no = NULL, cancel_requested = FALSE, updated_at = clock_timestamp(),
        -- It has been started, or should have been: a later twin may stand beside it.
        dedup = CASE r.dedup WHEN 1 THEN -1 ELSE r.dedup END,
        -- Whoever retries an expired run wants it to start.
        expires_at = CASE WHEN r.expires_at > clock_timestamp() THEN r.expires_at END
      FROM chosen WHERE r.result_id = chosen.result_id AND r.status IN ('FAILED', 'CANCELLED')
    RETURNING r.result_id, r.queue_name
), woken AS (
    SELECT pg_notify('reproq_wake', queue_name) FROM (SELECT DISTINCT queue_name FROM retried) AS queues
)
SELECT result_id, (SELECT count(*) FROM woken) AS woken FROM retried
