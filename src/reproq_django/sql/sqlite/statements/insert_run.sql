-- Enqueue: one run. No new row means a duplicate, by the unique indexes of 40_indexes.sql. claim_key, gate and
-- visit_key are the trigger's; enqueued_at is the column's default. The last five values are for members of workflows, else NULL.
INSERT INTO task_runs (
    backend_alias, queue_name, priority, run_after, spec_json, spec_hash, task_path, max_attempts, timeout_seconds,
    lock_key, concurrency_key, concurrency_limit, expires_at, dedup, fairness_key, rate_key, rate_per_second,
    rate_burst, over_limit, result_id, status, workflow_id, step, after_step)
VALUES (
    %(backend_alias)s, %(queue_name)s, %(priority)s, %(run_after)s, %(spec_json)s, %(spec_hash)s, %(task_path)s,
    %(max_attempts)s, %(timeout_seconds)s, %(lock_key)s, %(concurrency_key)s, %(concurrency_limit)s,
    strftime(%(time_format)s, 'now', %(expires_in)s), %(dedup)s, %(fairness_key)s, %(rate_key)s, %(rate_per_second)s,
    %(rate_burst)s, %(over_limit)s, %(result_id)s, COALESCE(%(status)s, 'READY'), %(workflow_id)s, %(step)s, %(after_step)s)
ON CONFLICT DO NOTHING
