-- FAILED -> WAITING for what was ended for the sake of these steps, which are bad no longer. What went wrong stays in errors_json.
-- ?1 a JSON array of arrays: id, step; ?2 limit
UPDATE task_runs SET status = 'WAITING', updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), failed_at = NULL, finished_at = NULL,
    last_error = NULL
 WHERE result_id IN (
    SELECT r.result_id FROM json_each(?1) s CROSS JOIN task_runs r INDEXED BY reproq_task_runs_workflow
        ON r.workflow_id = s.value ->> 0 AND r.after_step = s.value ->> 1 AND r.status = 'FAILED'
       AND json_extract(r.errors_json, '$[#-1].kind') = 'workflow_failed' LIMIT ?2)
