-- FAILED -> WAITING for what was ended for the sake of these steps, which are bad no longer. What went wrong stays in errors_json. A run
-- that somebody holds is passed over: fewer are moved than seen.
-- $1 ids, $2 steps, $3 limit
WITH failed AS MATERIALIZED (
    SELECT r.result_id FROM unnest($1::uuid[], $2::int[]) AS s (workflow_id, step) CROSS JOIN LATERAL (
        -- By the workflow alone: there may be very many FAILED runs.
        SELECT x.result_id, x.status, x.after_step, x.errors_json FROM task_runs x WHERE x.workflow_id = s.workflow_id OFFSET 0) AS r
     WHERE r.status = 'FAILED' AND r.after_step = s.step AND r.errors_json -> -1 ->> 'kind' = 'workflow_failed' LIMIT $3
), taken AS MATERIALIZED (
    SELECT w.result_id FROM failed w CROSS JOIN LATERAL (
        SELECT x.status FROM task_runs x WHERE x.result_id = w.result_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS r
     WHERE r.status = 'FAILED'
), moved AS (
    UPDATE task_runs r SET status = 'WAITING', updated_at = clock_timestamp(), failed_at = NULL, finished_at = NULL, last_error = NULL
      FROM taken t WHERE r.result_id = t.result_id
    RETURNING 1
)
SELECT (SELECT count(*) FROM failed) AS seen, (SELECT count(*) FROM moved) AS moved
