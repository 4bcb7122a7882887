-- The runs for the case of a failure: WAITING -> READY when there was one, else -> CANCELLED. Held ones are passed over.
-- $1 runs, $2 whether each starts
WITH taken AS MATERIALIZED (
    SELECT f.result_id, f.starts FROM unnest($1::bigint[], $2::bool[]) AS f (result_id, starts) CROSS JOIN LATERAL (
        SELECT x.status FROM task_runs x WHERE x.result_id = f.result_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS r
     WHERE r.status = 'WAITING'
), moved AS (
    UPDATE task_runs r SET status = CASE WHEN t.starts THEN 'READY' ELSE 'CANCELLED' END, updated_at = clock_timestamp(),
        finished_at = CASE WHEN NOT t.starts THEN clock_timestamp() END,
        last_error = CASE WHEN NOT t.starts THEN 'the workflow succeeded, so this was not needed' END,
        errors_json = CASE WHEN t.starts THEN r.errors_json ELSE r.errors_json || jsonb_build_array(jsonb_build_object(
            'kind', 'discarded', 'message', 'the workflow succeeded, so this was not needed', 'attempt', r.attempts,
            'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'))) END
      FROM taken t WHERE r.result_id = t.result_id
    RETURNING r.queue_name, r.status
), woken AS (
    SELECT pg_notify('reproq_wake', queue_name) FROM (SELECT DISTINCT queue_name FROM moved WHERE status = 'READY') AS queues
     WHERE EXISTS (SELECT 1 FROM reproq_workers WHERE wants_wake AND last_seen_at > now() - interval '30 seconds')
)
SELECT cardinality($1)::bigint AS seen, (SELECT count(*) FROM moved) AS moved,
       ARRAY(SELECT DISTINCT queue_name FROM moved WHERE status = 'READY') AS queues, (SELECT count(*) FROM woken) AS woken
