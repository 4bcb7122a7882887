-- Enqueue: up to 1,000 runs in one round trip. Answers with the position of each run that was inserted; a position that is
-- missing is a duplicate, by the unique indexes of 40_indexes.sql. claim_key, gate and visit_key are the trigger's.
-- The last five arrays are for members of workflows and may be NULL: then ids are the sequence's and runs are READY.
WITH input AS MATERIALIZED (
    -- Ids are taken in input order: among equals, the first of a batch runs first.
    SELECT COALESCE(given.known_id, nextval((SELECT pg_get_serial_sequence('task_runs', 'result_id'))::regclass)) AS result_id, given.*
      FROM unnest(
        %(backend_alias)s::text[], %(queue_name)s::text[], %(priority)s::int[], %(run_after)s::timestamptz[],
        %(spec_json)s::text[], %(spec_hash)s::text[], %(task_path)s::text[], %(max_attempts)s::int[],
        %(timeout_seconds)s::int[], %(lock_key)s::text[], %(concurrency_key)s::text[], %(concurrency_limit)s::int[],
        %(expires_in_seconds)s::float8[], %(dedup)s::smallint[], %(fairness_key)s::text[], %(rate_key)s::text[],
        %(rate_per_second)s::float8[], %(rate_burst)s::int[], %(over_limit)s::smallint[],
        %(result_id)s::bigint[], %(status)s::text[], %(workflow_id)s::uuid[], %(step)s::int[], %(after_step)s::int[]
      ) WITH ORDINALITY AS given (
        backend_alias, queue_name, priority, run_after, spec_json, spec_hash, task_path, max_attempts, timeout_seconds,
        lock_key, concurrency_key, concurrency_limit, expires_in_seconds, dedup, fairness_key, rate_key,
        rate_per_second, rate_burst, over_limit, known_id, status, workflow_id, step, after_step, position)
), inserted AS (
    INSERT INTO task_runs (
        result_id, backend_alias, queue_name, priority, run_after, spec_json, spec_hash, task_path, max_attempts,
        timeout_seconds, lock_key, concurrency_key, concurrency_limit, expires_at, dedup, fairness_key, rate_key,
        rate_per_second, rate_burst, over_limit, workflow_id, step, after_step, status, enqueued_at)
    SELECT result_id, backend_alias, queue_name, priority, run_after, spec_json::json, spec_hash, task_path, max_attempts,
           timeout_seconds, lock_key, concurrency_key, concurrency_limit,
           statement_timestamp() + make_interval(secs => expires_in_seconds), dedup, fairness_key, rate_key,
           rate_per_second, rate_burst, over_limit, workflow_id, step, after_step, COALESCE(status, 'READY'), statement_timestamp()
      FROM input
     -- Two enqueues that share several specs wait for each other's rows in the same order, so neither deadlocks.
     ORDER BY spec_hash, position
    ON CONFLICT DO NOTHING
    RETURNING result_id, queue_name, enqueued_at
), woken AS (
    -- Delivered at commit, and only when a worker has said that it sleeps: a notification costs every commit a global lock.
    SELECT pg_notify('reproq_wake', queue_name)
      FROM (SELECT DISTINCT queue_name FROM inserted) AS queues
     WHERE EXISTS (SELECT 1 FROM reproq_workers WHERE wants_wake AND last_seen_at > now() - interval '30 seconds')
)
-- A CTE that nothing reads is not executed, hence the count.
SELECT input.position, inserted.result_id, inserted.enqueued_at, (SELECT count(*) FROM woken)
  FROM inserted JOIN input USING (result_id)
