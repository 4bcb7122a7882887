-- A new run of the same call: what defines it is the source's, everything else is fresh. No row in the answer: there is no
-- such source, or an active run stands for it already; active_twins.sql tells which.
-- The latest word on a key stays the latest: a replay of an old run must not bring back the limit of its day.
INSERT INTO task_runs (
    backend_alias, queue_name, priority, spec_json, spec_hash, task_path, max_attempts, timeout_seconds, lock_key,
    concurrency_key, concurrency_limit, fairness_key, rate_key, rate_per_second, rate_burst, over_limit, headers,
    dedup, status, run_after, expires_at)
SELECT backend_alias, queue_name, priority, spec_json, spec_hash, task_path, max_attempts, timeout_seconds, lock_key,
       concurrency_key, COALESCE((
            SELECT CAST(k.amount AS INTEGER) FROM reproq_key_limits k
             WHERE k.key = 'concurrency:' || r.concurrency_key AND r.concurrency_limit > 0 AND NOT k.pinned
             ORDER BY k.limit_id DESC LIMIT 1), concurrency_limit),
       fairness_key, rate_key, COALESCE((
            SELECT k.amount FROM reproq_key_limits k WHERE k.key = r.rate_key AND r.rate_per_second > 0 AND NOT k.pinned
             ORDER BY k.limit_id DESC LIMIT 1), rate_per_second),
       COALESCE((
            SELECT k.burst FROM reproq_key_limits k WHERE k.key = r.rate_key AND r.rate_per_second > 0 AND NOT k.pinned
             ORDER BY k.limit_id DESC LIMIT 1), rate_burst),
       over_limit, headers, abs(dedup), 'READY', strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'),
       strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', ((julianday(expires_at) - julianday(enqueued_at)) * 86400.0) || ' seconds')
  FROM task_runs r WHERE result_id = %(id)s
ON CONFLICT DO NOTHING
RETURNING result_id
