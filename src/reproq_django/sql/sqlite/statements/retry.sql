-- FAILED -> READY with a full budget; what went wrong stays in errors_json. Answers with the runs that it moved.
-- A member of a workflow becomes WAITING if the step that it waits for is not over, or a run of it is retried here. One that was ended
-- for the sake of another stays: it follows that one by itself. cancelled: CANCELLED runs, too.
-- A run whose twin is active stays as it is, and so does all but the first of several twins; active_twins.sql tells which.
-- ids: a JSON array.
UPDATE task_runs SET
    status = CASE WHEN result_id IN (
        SELECT c.result_id FROM task_runs c JOIN workflow_runs w ON w.workflow_id = c.workflow_id
          LEFT JOIN reproq_workflow_steps s ON s.workflow_id = c.workflow_id AND s.step = c.after_step
         WHERE c.result_id IN (SELECT value FROM json_each(%(ids)s)) AND c.after_step IS NOT NULL
           AND (s.pending > 0 OR (s.failed > 0 AND w.policy <> 'continue')
            OR (c.workflow_id, c.after_step) IN (
                SELECT a.workflow_id, a.step FROM task_runs a WHERE a.result_id IN (SELECT value FROM json_each(%(ids)s))
                   AND (a.status = 'FAILED' OR (a.status = 'CANCELLED' AND %(cancelled)s)) AND a.step IS NOT NULL)
            OR EXISTS (SELECT 1 FROM reproq_workflow_events e
                        WHERE e.workflow_id = c.workflow_id AND e.step = c.after_step AND e.ended < 0))) THEN 'WAITING' ELSE 'READY' END,
    run_after = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'), attempts = 0, crash_count = 0, started_at = NULL,
    finished_at = NULL, return_json = NULL, progress_json = NULL, last_error = NULL, failed_at = NULL, leased_until = NULL, leased_by = NULL,
    incarnation = NULL, slot_no = NULL, cancel_requested = FALSE, updated_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'),
    -- It has been started, or should have been: a later twin may stand beside it.
    dedup = CASE dedup WHEN 1 THEN -1 ELSE dedup END,
    -- Whoever retries an expired run wants it to start.
    expires_at = CASE WHEN expires_at > strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now') THEN expires_at END
 WHERE result_id IN (
    SELECT min(c.result_id) FROM task_runs c
     WHERE c.result_id IN (SELECT value FROM json_each(%(ids)s)) AND (c.status = 'FAILED' OR (c.status = 'CANCELLED' AND %(cancelled)s))
       AND NOT (c.after_step IS NOT NULL AND COALESCE(json_extract(c.errors_json, '$[#-1].kind'), '') = 'workflow_failed') AND (c.dedup <> 2 OR NOT EXISTS (
        SELECT 1 FROM task_runs t WHERE t.spec_hash = c.spec_hash AND t.dedup = 2 AND t.status IN ('READY', 'RUNNING', 'WAITING')))
     GROUP BY CASE c.dedup WHEN 2 THEN c.spec_hash ELSE c.result_id END)
RETURNING result_id
