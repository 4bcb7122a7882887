-- READY -> RUNNING for runs that this transaction has decided about, with the slots that admission has given them.
-- ?1 [[run, slot], ...], ?2 worker id, ?3 incarnation, ?4 lease as a modifier ('+15.000 seconds'), ?5 now in microseconds since
-- 1970, as the rates have been charged
UPDATE task_runs SET
    status = 'RUNNING', slot_no = NULLIF(admitted.value ->> 1, 0), epoch = epoch + 1, attempts = attempts + 1,
    started_at = COALESCE(started_at, strftime('%Y-%m-%d %H:%M:%f', ?5 / 1000000.0, 'unixepoch')),
    last_attempted_at = strftime('%Y-%m-%d %H:%M:%f', ?5 / 1000000.0, 'unixepoch'), updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
    leased_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?4), leased_by = ?2, incarnation = ?3,
    worker_ids = json_insert(worker_ids, '$[#]', ?2),
    dedup = CASE dedup WHEN 1 THEN -1 ELSE dedup END
  FROM json_each(?1) AS admitted
 WHERE task_runs.result_id = admitted.value ->> 0 AND status = 'READY' AND gate IN (0, 2)
RETURNING result_id, epoch, attempts, max_attempts, crash_count, timeout_seconds, task_path, queue_name, backend_alias,
    spec_json AS spec, worker_ids, errors_json AS errors, metadata_json AS metadata, enqueued_at, started_at,
    last_attempted_at, claim_key, COALESCE(expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now'), 0) AS expired
