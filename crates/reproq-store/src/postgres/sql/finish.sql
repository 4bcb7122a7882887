-- The one way out of RUNNING, for any number of runs: success, failure, retry, release, cancellation, lost lease.
-- Matches run, state, epoch and owner; a row that does not match has another owner by now and is left alone.
-- A row that somebody holds (an operator's open transaction) is not waited for: all other endings would wait with it. It
-- comes back under `held`, to be sent again. Sent twice, an ending writes once.
-- A run that somebody wants cancelled does not become READY again, and whoever takes it back ends it.
-- $12 the attempt's entry in the run's history, without its brace at the beginning: put together as text, because an object built
-- by functions takes the database half as long again.
-- $13 is null when the ender is not the owner: then only a lease that has ended counts.
WITH ended AS (
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bool[],
                         $9::bool[], $10::text[], $11::text[], $12::text[])
        AS e (result_id, epoch, status, return_json, error, last_error, delay_us, give_back, crashed, metadata, logs_uri, record)
), taken AS MATERIALIZED (
    -- Row by row and by id alone: with the state in the condition, the planner may read the whole index of running runs, and
    -- with it the traces of all that have ended. All columns of the ending come along, so that the update joins once more by
    -- primary key and not two lists.
    SELECT e.*, r.cancel_requested AND (e.status = 'READY' OR $13::uuid IS NULL) AS cancelled
      FROM ended e CROSS JOIN LATERAL (
        SELECT x.status, x.epoch, x.incarnation, x.leased_until, x.cancel_requested FROM task_runs x
         WHERE x.result_id = e.result_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS r
     WHERE r.status = 'RUNNING' AND r.epoch = e.epoch
       AND (r.incarnation = $13 OR ($13 IS NULL AND r.leased_until < clock_timestamp()))
), decided AS (
    SELECT t.*, CASE WHEN cancelled THEN 'CANCELLED' ELSE status END AS becomes FROM taken t
), written AS (
    UPDATE task_runs r SET
        status = e.becomes, updated_at = clock_timestamp(),
        return_json = e.return_json::json,
        errors_json = CASE WHEN e.error IS NULL THEN r.errors_json ELSE r.errors_json || jsonb_build_array(
            e.error::jsonb || jsonb_build_object('at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'))) END,
        metadata_json = COALESCE(e.metadata::jsonb, r.metadata_json),
        last_error = CASE WHEN e.cancelled THEN 'the run was cancelled' WHEN e.status = 'SUCCESSFUL' THEN NULL ELSE COALESCE(e.last_error, r.last_error) END,
        logs_uri = COALESCE(e.logs_uri, r.logs_uri),
        attempts_json = CASE WHEN e.record IS NULL THEN r.attempts_json ELSE
            CASE WHEN r.attempts_json -> 49 IS NULL THEN r.attempts_json ELSE r.attempts_json - 0 END || ('[{"started_at":'
            || COALESCE(to_char(r.last_attempted_at AT TIME ZONE 'UTC', '\"YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"\"'), 'null') || ',"ended_at":'
            || (SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', '\"YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"\"')) || e.record || ']')::jsonb END,
        progress_json = CASE WHEN e.becomes <> 'READY' THEN r.progress_json END,
        failed_at = CASE WHEN e.becomes = 'FAILED' THEN clock_timestamp() END,
        finished_at = CASE WHEN e.becomes <> 'READY' THEN clock_timestamp() END,
        run_after = CASE WHEN e.becomes = 'READY' AND e.delay_us > 0 THEN clock_timestamp() + e.delay_us * interval '1 microsecond' ELSE r.run_after END,
        attempts = r.attempts - e.give_back::int,
        worker_ids = CASE WHEN e.give_back THEN r.worker_ids - -1 ELSE r.worker_ids END,
        started_at = CASE WHEN e.give_back AND r.attempts = 1 THEN NULL ELSE r.started_at END,
        crash_count = r.crash_count + e.crashed::int,
        -- A run that has started no longer stands for its twins: one of them may be READY by now.
        dedup = CASE r.dedup WHEN 1 THEN -1 ELSE r.dedup END,
        leased_until = NULL, leased_by = NULL, incarnation = NULL, slot_no = NULL,
        cancel_requested = FALSE
      FROM decided e WHERE r.result_id = e.result_id
    RETURNING r.step IS NOT NULL AND r.status <> 'READY' AS of_workflow
)
SELECT (SELECT count(*) FROM written) AS written, (SELECT bool_or(of_workflow) FROM written) AS of_workflows,
       CASE WHEN (SELECT count(*) FROM written) < cardinality($1) THEN ARRAY(
            SELECT r.result_id FROM task_runs r JOIN ended e ON e.result_id = r.result_id
             WHERE r.status = 'RUNNING' AND r.epoch = e.epoch
               AND (r.incarnation = $13 OR ($13 IS NULL AND r.leased_until < clock_timestamp()))
               AND NOT EXISTS (SELECT 1 FROM taken t WHERE t.result_id = r.result_id)) END AS held
