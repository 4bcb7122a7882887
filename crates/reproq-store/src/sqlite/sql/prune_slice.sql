-- One step through the table by primary key, so that its cost is known whatever matches: what is there.
-- ?1 after this id, ?2 how many to look at, ?3 states as a JSON array, ?4 date, ?5 age as a modifier, ?6 how many to delete
WITH slice AS MATERIALIZED (
    SELECT result_id, status, concurrency_key, rate_key, workflow_id, step,
           CASE ?4 WHEN 'finished_at' THEN finished_at WHEN 'updated_at' THEN updated_at WHEN 'enqueued_at' THEN enqueued_at
                   WHEN 'started_at' THEN started_at ELSE expires_at END AS date
      FROM task_runs WHERE result_id > ?1 ORDER BY result_id LIMIT ?2
)
SELECT (SELECT max(result_id) FROM slice) AS last_id,
       (SELECT json_group_array(result_id) FROM (
            SELECT result_id FROM slice
             WHERE status IN (SELECT value FROM json_each(?3)) AND status <> 'RUNNING' AND date <= strftime('%Y-%m-%d %H:%M:%f', 'now', ?5)
               -- Of what has ended in a workflow that goes on, the results may be asked for.
               AND NOT (step IS NOT NULL AND status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') AND EXISTS (
                    SELECT 1 FROM workflow_runs w WHERE w.workflow_id = slice.workflow_id AND w.status = 'RUNNING'))
             ORDER BY result_id LIMIT ?6)) AS ids,
       (SELECT json_group_array(DISTINCT key) FROM (
            SELECT 'concurrency:' || concurrency_key AS key FROM slice WHERE status IN ('READY', 'RUNNING', 'WAITING') AND concurrency_key <> ''
            UNION ALL
            SELECT rate_key FROM slice WHERE status IN ('READY', 'RUNNING', 'WAITING') AND rate_key <> '')) AS keys_in_use
