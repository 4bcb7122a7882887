-- Moves the time of a run that has not started: to `at`, else to so many seconds from now. No row in the answer: there is no
-- such run, or it has started; see active_twins.sql for its state. Its lane is the trigger's.
WITH moved AS (
    UPDATE task_runs r SET run_after = COALESCE(%(at)s::timestamptz, clock_timestamp() + make_interval(secs => %(seconds)s::float8)),
        updated_at = clock_timestamp()
     WHERE r.result_id = %(id)s::bigint AND r.status IN ('READY', 'WAITING')
    RETURNING r.status, r.queue_name, (extract(epoch FROM r.run_after) * 1000000)::bigint AS run_after_us
), woken AS (
    SELECT pg_notify('reproq_wake', queue_name) FROM moved
)
SELECT status, run_after_us, (SELECT count(*) FROM woken) AS woken FROM moved
