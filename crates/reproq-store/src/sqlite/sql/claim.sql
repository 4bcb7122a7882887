-- READY -> RUNNING for the runs that the visit chose; one that has changed since is left alone.
-- ?1 ids as a JSON array, ?2 worker id, ?3 incarnation, ?4 lease as a modifier ('+15.000 seconds')
UPDATE task_runs SET
    status = 'RUNNING', epoch = epoch + 1, attempts = attempts + 1,
    started_at = COALESCE(started_at, strftime('%Y-%m-%d %H:%M:%f', 'now')),
    last_attempted_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
    leased_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?4), leased_by = ?2, incarnation = ?3,
    worker_ids = json_insert(worker_ids, '$[#]', ?2),
    -- A run that stands for its twins only until it starts has started now.
    dedup = CASE dedup WHEN 1 THEN -1 ELSE dedup END
 WHERE result_id IN (SELECT value FROM json_each(?1)) AND status = 'READY' AND gate = 0
RETURNING result_id, epoch, attempts, max_attempts, crash_count, timeout_seconds, task_path, queue_name, backend_alias,
    spec_json AS spec, worker_ids, errors_json AS errors, metadata_json AS metadata, enqueued_at, started_at,
    last_attempted_at, claim_key, COALESCE(expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now'), 0) AS expired
