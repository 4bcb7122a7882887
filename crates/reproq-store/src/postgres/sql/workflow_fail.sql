-- WAITING -> FAILED for what waits for these steps, for what waits for the steps that this counts for, and so on. A run that somebody
-- holds is passed over: fewer are moved than seen. OFFSET 0 has each step looked up by itself: a join is planned for what the
-- statistics say of the whole table.
-- $1 ids, $2 steps, $3 whom they have failed for, $4 limit
WITH RECURSIVE lost (workflow_id, step, culprit) AS (
    SELECT * FROM unnest($1::uuid[], $2::int[], $3::bigint[])
    UNION
    SELECT l.workflow_id, r.step, l.culprit FROM lost l CROSS JOIN LATERAL (
        SELECT x.step FROM task_runs x WHERE x.workflow_id = l.workflow_id AND x.after_step = l.step AND x.status = 'WAITING' OFFSET 0) AS r
), waiting AS MATERIALIZED (
    SELECT r.result_id, l.culprit FROM lost l CROSS JOIN LATERAL (
        SELECT x.result_id FROM task_runs x
         WHERE x.workflow_id = l.workflow_id AND x.after_step = l.step AND x.status = 'WAITING' OFFSET 0) AS r LIMIT $4
), taken AS MATERIALIZED (
    SELECT w.result_id, min(w.culprit) AS culprit FROM waiting w CROSS JOIN LATERAL (
        SELECT x.status FROM task_runs x WHERE x.result_id = w.result_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS r
     WHERE r.status = 'WAITING' GROUP BY w.result_id
), culprits AS MATERIALIZED (
    SELECT c.culprit, COALESCE(r.task_path || ' run ' || c.culprit || ' ended ' || CASE r.status WHEN 'CANCELLED' THEN r.status ELSE 'FAILED' END
               || COALESCE(': ' || left(r.last_error, 1000), ''), 'run ' || c.culprit || ' is gone', 'a run that it waited for failed') AS message
      FROM (SELECT DISTINCT culprit FROM taken) AS c LEFT JOIN LATERAL (
        SELECT x.task_path, x.status, x.last_error FROM task_runs x WHERE x.result_id = c.culprit) AS r ON TRUE
), told AS MATERIALIZED (
    SELECT t.result_id, t.culprit, c.message FROM taken t CROSS JOIN LATERAL (
        SELECT x.message FROM culprits x WHERE x.culprit IS NOT DISTINCT FROM t.culprit LIMIT 1) AS c
), moved AS (
    UPDATE task_runs r SET status = 'FAILED', updated_at = clock_timestamp(), failed_at = clock_timestamp(), finished_at = clock_timestamp(),
        last_error = t.message,
        errors_json = r.errors_json || jsonb_build_array(jsonb_build_object(
            'kind', 'workflow_failed', 'message', t.message, 'failed_result_id', t.culprit, 'attempt', r.attempts,
            'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')))
      FROM told t WHERE r.result_id = t.result_id
    RETURNING r.workflow_id, r.step, t.culprit
), blamed AS (
    UPDATE reproq_workflow_steps s SET culprit = m.culprit
      FROM (SELECT workflow_id, step, min(culprit) AS culprit FROM moved GROUP BY workflow_id, step) AS m
     WHERE s.workflow_id = m.workflow_id AND s.step = m.step AND s.culprit IS NULL
)
SELECT (SELECT count(*) FROM waiting) AS seen, (SELECT count(*) FROM moved) AS moved
