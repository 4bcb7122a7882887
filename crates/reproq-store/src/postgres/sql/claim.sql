-- READY -> RUNNING, best first over the queues, for runs that nothing holds back.
-- Each queue's head comes off its partial index in claim order, so the cost is the batch whatever waits behind it. Queues whose
-- every start is counted are claimed with the keyed runs; runs of a task that is paused or counted are passed over until
-- divert.sql has put them there.
-- The CTE is materialised: a LIMIT with FOR UPDATE may otherwise be run again by the planner and take too many.
-- $1 queues, $2 limit, $3 worker id, $4 incarnation, $5 lease in seconds
WITH listening AS (
    SELECT q.queue_name FROM unnest($1::text[]) AS q (queue_name)
     WHERE q.queue_name NOT IN (SELECT queue_name FROM reproq_paused_queues)
       AND NOT EXISTS (SELECT 1 FROM reproq_limited_queues l WHERE l.queue_name IN ('', q.queue_name))
), picked AS MATERIALIZED (
    SELECT head.result_id
      FROM listening CROSS JOIN LATERAL (
        SELECT r.result_id, r.claim_key, r.task_path FROM task_runs r
         WHERE r.queue_name = listening.queue_name AND r.status = 'READY' AND r.gate = 0
         ORDER BY r.claim_key, r.result_id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) AS head
     WHERE head.task_path NOT IN (SELECT task_path FROM reproq_diverted_tasks)
     ORDER BY head.claim_key, head.result_id LIMIT $2
)
UPDATE task_runs r SET
    status = 'RUNNING', epoch = r.epoch + 1, attempts = r.attempts + 1,
    started_at = COALESCE(r.started_at, clock_timestamp()), last_attempted_at = clock_timestamp(), updated_at = clock_timestamp(),
    leased_until = clock_timestamp() + make_interval(secs => $5), leased_by = $3, incarnation = $4,
    worker_ids = r.worker_ids || to_jsonb($3::text),
    -- A run that stands for its twins only until it starts has started now.
    dedup = CASE r.dedup WHEN 1 THEN -1 ELSE r.dedup END
  FROM picked WHERE r.result_id = picked.result_id
RETURNING r.result_id, r.epoch, r.attempts, r.max_attempts, r.crash_count, r.timeout_seconds, r.task_path, r.queue_name,
    r.backend_alias, r.spec_json::text AS spec, r.worker_ids::text AS worker_ids, r.errors_json::text AS errors,
    r.metadata_json::text AS metadata, r.enqueued_at, r.started_at, r.last_attempted_at, r.claim_key,
    COALESCE(r.expires_at <= clock_timestamp(), FALSE) AS expired
