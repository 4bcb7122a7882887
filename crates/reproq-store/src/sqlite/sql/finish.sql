-- The one way out of RUNNING, for any number of runs: success, failure, retry, release, cancellation, lost lease.
-- Matches run, state, epoch and owner; a row that does not match has another owner by now and is left alone.
-- A run that somebody wants cancelled does not become READY again, and whoever takes it back ends it.
-- Sent twice, it writes once. ?2 is null when the ender is not the owner: then only a lease that has ended counts.
-- ?1 the endings as a JSON array of arrays: id, epoch, status, return, error, last error, delay in s, give back, crashed,
-- metadata, logs uri, the attempt's entry in the run's history
UPDATE task_runs SET
    status = CASE WHEN cancel_requested AND (e.value ->> 2 = 'READY' OR ?2 IS NULL) THEN 'CANCELLED' ELSE e.value ->> 2 END,
    updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
    return_json = e.value ->> 3,
    errors_json = CASE WHEN e.value ->> 4 IS NULL THEN errors_json ELSE json_insert(errors_json, '$[#]',
        json_set(json(e.value ->> 4), '$.at', strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))) END,
    metadata_json = COALESCE(e.value ->> 9, metadata_json),
    last_error = CASE WHEN cancel_requested AND (e.value ->> 2 = 'READY' OR ?2 IS NULL) THEN 'the run was cancelled' WHEN e.value ->> 2 = 'SUCCESSFUL' THEN NULL ELSE COALESCE(e.value ->> 5, last_error) END,
    logs_uri = COALESCE(e.value ->> 10, logs_uri),
    attempts_json = CASE WHEN e.value ->> 11 IS NULL THEN attempts_json ELSE json_insert(
        CASE WHEN json_array_length(attempts_json) < 50 THEN attempts_json ELSE json_remove(attempts_json, '$[0]') END, '$[#]',
        json_set(json(e.value ->> 11), '$.started_at', replace(last_attempted_at, ' ', 'T') || '+00:00',
                 '$.ended_at', strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))) END,
    progress_json = CASE WHEN e.value ->> 2 <> 'READY' OR cancel_requested THEN progress_json END,
    failed_at = CASE WHEN e.value ->> 2 = 'FAILED' AND NOT (cancel_requested AND ?2 IS NULL) THEN strftime('%Y-%m-%d %H:%M:%f', 'now') END,
    finished_at = CASE WHEN e.value ->> 2 <> 'READY' OR cancel_requested THEN strftime('%Y-%m-%d %H:%M:%f', 'now') END,
    run_after = CASE WHEN e.value ->> 2 = 'READY' AND NOT cancel_requested AND e.value ->> 6 > 0
        THEN strftime('%Y-%m-%d %H:%M:%f', 'now', printf('+%.3f seconds', e.value ->> 6)) ELSE run_after END,
    attempts = attempts - (e.value ->> 7),
    worker_ids = CASE WHEN e.value ->> 7 THEN json_remove(worker_ids, '$[#-1]') ELSE worker_ids END,
    started_at = CASE WHEN e.value ->> 7 AND attempts = 1 THEN NULL ELSE started_at END,
    crash_count = crash_count + (e.value ->> 8),
    -- A run that has started no longer stands for its twins: one of them may be READY by now.
    dedup = CASE dedup WHEN 1 THEN -1 ELSE dedup END,
    leased_until = NULL, leased_by = NULL, incarnation = NULL, slot_no = NULL,
    cancel_requested = FALSE
  FROM json_each(?1) e
 WHERE result_id = e.value ->> 0 AND status = 'RUNNING' AND epoch = e.value ->> 1
   AND (incarnation = ?2 OR (?2 IS NULL AND leased_until < strftime('%Y-%m-%d %H:%M:%f', 'now')))
RETURNING step IS NOT NULL AND status <> 'READY' AS of_workflow
