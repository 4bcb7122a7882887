-- READY -> RUNNING for runs whose keys this transaction has locked, with the slots that admission has given them.
-- A run that somebody holds, or that has changed since the visit, is left alone.
-- $1 runs, $2 their slots, $3 worker id, $4 incarnation, $5 lease in seconds, $6 now in microseconds since 1970, as the rates
-- have been charged
WITH admitted AS MATERIALIZED (
    SELECT r.result_id, a.slot_no
      FROM unnest($1::bigint[], $2::int[]) AS a (result_id, slot_no) JOIN task_runs r ON r.result_id = a.result_id
     WHERE r.status = 'READY' AND r.gate IN (0, 2)
     ORDER BY r.result_id FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE task_runs r SET
    status = 'RUNNING', slot_no = NULLIF(admitted.slot_no, 0), epoch = r.epoch + 1, attempts = r.attempts + 1,
    started_at = COALESCE(r.started_at, timestamptz 'epoch' + $6 * interval '1 microsecond'),
    last_attempted_at = timestamptz 'epoch' + $6 * interval '1 microsecond', updated_at = clock_timestamp(),
    leased_until = clock_timestamp() + make_interval(secs => $5), leased_by = $3, incarnation = $4,
    worker_ids = r.worker_ids || to_jsonb($3::text),
    dedup = CASE r.dedup WHEN 1 THEN -1 ELSE r.dedup END
  FROM admitted WHERE r.result_id = admitted.result_id
RETURNING r.result_id, r.epoch, r.attempts, r.max_attempts, r.crash_count, r.timeout_seconds, r.task_path, r.queue_name,
    r.backend_alias, r.spec_json::text AS spec, r.worker_ids::text AS worker_ids, r.errors_json::text AS errors,
    r.metadata_json::text AS metadata, r.enqueued_at, r.started_at, r.last_attempted_at, r.claim_key,
    COALESCE(r.expires_at <= clock_timestamp(), FALSE) AS expired
