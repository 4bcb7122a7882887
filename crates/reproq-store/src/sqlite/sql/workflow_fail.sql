-- WAITING -> FAILED for what waits for these steps, for what waits for the steps that this counts for, and so on.
-- ?1 a JSON array of arrays: id, step, whom it has failed for; ?2 limit
WITH RECURSIVE lost (workflow_id, step, culprit) AS (
    SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?1)
    UNION
    SELECT l.workflow_id, r.step, l.culprit FROM lost l CROSS JOIN task_runs r
        ON r.workflow_id = l.workflow_id AND r.after_step = l.step AND r.status = 'WAITING'
), doomed AS MATERIALIZED (
    SELECT r.result_id, min(l.culprit) AS culprit FROM lost l CROSS JOIN task_runs r
        ON r.workflow_id = l.workflow_id AND r.after_step = l.step AND r.status = 'WAITING'
     GROUP BY r.result_id LIMIT ?2
), culprits AS MATERIALIZED (
    SELECT c.culprit, COALESCE(r.task_path || ' run ' || c.culprit || ' ended ' || CASE r.status WHEN 'CANCELLED' THEN r.status ELSE 'FAILED' END
               || COALESCE(': ' || substr(r.last_error, 1, 1000), ''), 'run ' || c.culprit || ' is gone', 'a run that it waited for failed') AS message
      FROM (SELECT DISTINCT culprit FROM doomed) AS c LEFT JOIN task_runs r ON r.result_id = c.culprit
), told AS MATERIALIZED (
    SELECT d.result_id AS id, d.culprit, c.message FROM doomed d JOIN culprits c ON c.culprit IS d.culprit
)
UPDATE task_runs SET status = 'FAILED', updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
    failed_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), finished_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), last_error = t.message,
    errors_json = json_insert(errors_json, '$[#]', json_object(
        'kind', 'workflow_failed', 'message', t.message, 'failed_result_id', t.culprit, 'attempt', attempts,
        'at', strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')))
  FROM told t WHERE result_id = t.id
RETURNING workflow_id, step, json_extract(errors_json, '$[#-1].failed_result_id') AS culprit
