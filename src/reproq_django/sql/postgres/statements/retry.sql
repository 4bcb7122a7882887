-- FAILED -> READY with a full budget; what went wrong stays in errors_json. Answers with the runs that it moved.
-- A run whose twin is active stays as it is, and so does all but the first of several twins; active_twins.sql tells which.
-- A twin that commits at this very moment makes the unique index refuse the whole statement: look again, run by run.
WITH candidate AS MATERIALIZED (
    SELECT r.result_id, r.spec_hash, r.dedup FROM task_runs r
     WHERE r.result_id = ANY (%(ids)s::bigint[]) AND r.status = 'FAILED'
     ORDER BY r.result_id FOR NO KEY UPDATE
), chosen AS (
    SELECT min(c.result_id) AS result_id FROM candidate c
     WHERE c.dedup <> 2 OR NOT EXISTS (
        SELECT 1 FROM task_runs t WHERE t.spec_hash = c.spec_hash AND t.dedup = 2 AND t.status IN ('READY', 'RUNNING', 'WAITING'))
     GROUP BY CASE c.dedup WHEN 2 THEN c.spec_hash ELSE c.result_id::text END
), retried AS (
    UPDATE task_runs r SET
        status = 'READY', run_after = clock_timestamp(), attempts = 0, crash_count = 0, started_at = NULL, finished_at = NULL,
        return_json = NULL, progress_json = NULL, last_error = NULL, failed_at = NULL, leased_until = NULL, leased_by = NULL, incarnation = NULL,
        slot_no = NULL, cancel_requested = FALSE, updated_at = clock_timestamp(),
        -- It has been started, or should have been: a later twin may stand beside it.
        dedup = CASE r.dedup WHEN 1 THEN -1 ELSE r.dedup END,
        -- Whoever retries an expired run wants it to start.
        expires_at = CASE WHEN r.expires_at > clock_timestamp() THEN r.expires_at END
      FROM chosen WHERE r.result_id = chosen.result_id AND r.status = 'FAILED'
    RETURNING r.result_id, r.queue_name
), woken AS (
    SELECT pg_notify('reproq_wake', queue_name) FROM (SELECT DISTINCT queue_name FROM retried) AS queues
)
SELECT result_id, (SELECT count(*) FROM woken) AS woken FROM retried
