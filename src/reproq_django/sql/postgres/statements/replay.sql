-- A new run of the same call: what defines it is the source's, everything else is fresh. No row in the answer: there is no
-- such source, or an active run stands for it already; active_twins.sql tells which.
-- The latest word on a key stays the latest: a replay of an old run must not bring back the limit of its day.
WITH source AS (
    SELECT r.*, CASE WHEN r.concurrency_limit > 0 THEN (
                SELECT k.amount::int FROM reproq_key_limits k
                 WHERE k.key = 'concurrency:' || r.concurrency_key AND NOT k.pinned ORDER BY k.limit_id DESC LIMIT 1) END AS limit_now,
           word.amount AS rate_now, word.burst AS burst_now
      FROM task_runs r LEFT JOIN LATERAL (
        SELECT k.amount, k.burst FROM reproq_key_limits k
         WHERE k.key = r.rate_key AND r.rate_per_second > 0 AND NOT k.pinned ORDER BY k.limit_id DESC LIMIT 1) AS word ON TRUE
     WHERE r.result_id = %(id)s::bigint
), inserted AS (
    INSERT INTO task_runs (
        backend_alias, queue_name, priority, spec_json, spec_hash, task_path, max_attempts, timeout_seconds, lock_key,
        concurrency_key, concurrency_limit, fairness_key, rate_key, rate_per_second, rate_burst, over_limit, headers,
        dedup, status, enqueued_at, run_after, expires_at)
    SELECT backend_alias, queue_name, priority, spec_json, spec_hash, task_path, max_attempts, timeout_seconds, lock_key,
           concurrency_key, COALESCE(limit_now, concurrency_limit), fairness_key, rate_key, COALESCE(rate_now, rate_per_second),
           COALESCE(burst_now, rate_burst), over_limit, headers,
           abs(dedup), 'READY', statement_timestamp(), statement_timestamp(), statement_timestamp() + (expires_at - enqueued_at)
      FROM source
    ON CONFLICT DO NOTHING
    RETURNING result_id, queue_name
), woken AS (
    SELECT pg_notify('reproq_wake', queue_name) FROM inserted
)
SELECT result_id, (SELECT count(*) FROM woken) AS woken FROM inserted
