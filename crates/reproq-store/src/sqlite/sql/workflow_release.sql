-- WAITING -> READY for what waits for these steps.
-- ?1 a JSON array of arrays: id, step; ?2 limit
UPDATE task_runs SET status = 'READY', updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
 WHERE result_id IN (
    SELECT r.result_id FROM json_each(?1) s CROSS JOIN task_runs r
        ON r.workflow_id = s.value ->> 0 AND r.after_step = s.value ->> 1 AND r.status = 'WAITING' LIMIT ?2)
RETURNING queue_name
