-- WAITING -> READY for what waits for these steps. A run that somebody holds is passed over: fewer are moved than seen. Row by row and
-- by id alone, as in finish.sql; OFFSET 0 keeps it so.
-- $1 ids, $2 steps, $3 limit
WITH waiting AS MATERIALIZED (
    SELECT r.result_id FROM unnest($1::uuid[], $2::int[]) AS s (workflow_id, step) CROSS JOIN LATERAL (
        SELECT x.result_id FROM task_runs x
         WHERE x.workflow_id = s.workflow_id AND x.after_step = s.step AND x.status = 'WAITING' OFFSET 0) AS r LIMIT $3
), taken AS MATERIALIZED (
    SELECT w.result_id FROM waiting w CROSS JOIN LATERAL (
        SELECT x.status FROM task_runs x WHERE x.result_id = w.result_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS r
     WHERE r.status = 'WAITING'
), moved AS (
    UPDATE task_runs r SET status = 'READY', updated_at = clock_timestamp()
      FROM taken t WHERE r.result_id = t.result_id
    RETURNING r.queue_name
), woken AS (
    -- As insert_runs.sql does: only when a worker has said that it sleeps.
    SELECT pg_notify('reproq_wake', queue_name) FROM (SELECT DISTINCT queue_name FROM moved) AS queues
     WHERE EXISTS (SELECT 1 FROM reproq_workers WHERE wants_wake AND last_seen_at > now() - interval '30 seconds')
)
-- A CTE that nothing reads is not executed, hence the last count.
SELECT (SELECT count(*) FROM waiting) AS seen, (SELECT count(*) FROM moved) AS moved,
       ARRAY(SELECT DISTINCT queue_name FROM moved) AS queues, (SELECT count(*) FROM woken) AS woken
