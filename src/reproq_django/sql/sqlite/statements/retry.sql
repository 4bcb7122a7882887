-- FAILED -> READY with a full budget; what went wrong stays in errors_json. Answers with the runs that it moved.
-- A run whose twin is active stays as it is, and so does all but the first of several twins; active_twins.sql tells which.
-- ids: a JSON array.
UPDATE task_runs SET
    status = 'READY', run_after = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'), attempts = 0, crash_count = 0, started_at = NULL,
    finished_at = NULL, return_json = NULL, progress_json = NULL, last_error = NULL, failed_at = NULL, leased_until = NULL, leased_by = NULL,
    incarnation = NULL, slot_no = NULL, cancel_requested = FALSE, updated_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'),
    -- It has been started, or should have been: a later twin may stand beside it.
    dedup = CASE dedup WHEN 1 THEN -1 ELSE dedup END,
    -- Whoever retries an expired run wants it to start.
    expires_at = CASE WHEN expires_at > strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now') THEN expires_at END
 WHERE result_id IN (
    SELECT min(c.result_id) FROM task_runs c
     WHERE c.result_id IN (SELECT value FROM json_each(%(ids)s)) AND c.status = 'FAILED' AND (c.dedup <> 2 OR NOT EXISTS (
        SELECT 1 FROM task_runs t WHERE t.spec_hash = c.spec_hash AND t.dedup = 2 AND t.status IN ('READY', 'RUNNING', 'WAITING')))
     GROUP BY CASE c.dedup WHEN 2 THEN c.spec_hash ELSE c.result_id END)
RETURNING result_id
