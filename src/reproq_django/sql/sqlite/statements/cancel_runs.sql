-- Cancel: what has not started ends here and now; what runs gets the wish, which its worker finds. What has ended, or has
-- the wish already, stays and is not in the answer: run_states.sql, in the same transaction, says what it is.
-- The answer can only name what is written, so the entry in errors_json says what the run was before.
UPDATE task_runs SET
    status = CASE status WHEN 'RUNNING' THEN status ELSE 'CANCELLED' END,
    updated_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'),
    finished_at = CASE status WHEN 'RUNNING' THEN finished_at ELSE strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now') END,
    failed_at = CASE status WHEN 'RUNNING' THEN failed_at END,
    return_json = CASE status WHEN 'RUNNING' THEN return_json END,
    last_error = CASE status WHEN 'RUNNING' THEN last_error ELSE 'the run was cancelled' END,
    errors_json = CASE status WHEN 'RUNNING' THEN errors_json ELSE json_insert(errors_json, '$[#]', json_object(
        'kind', 'cancelled', 'message', 'the run was cancelled', 'status', status, 'attempt', attempts,
        'at', strftime('%%Y-%%m-%%dT%%H:%%M:%%f+00:00', 'now'))) END,
    leased_until = CASE status WHEN 'RUNNING' THEN leased_until END,
    leased_by = CASE status WHEN 'RUNNING' THEN leased_by END,
    incarnation = CASE status WHEN 'RUNNING' THEN incarnation END,
    slot_no = CASE status WHEN 'RUNNING' THEN slot_no END,
    cancel_requested = status = 'RUNNING'
 WHERE result_id IN (SELECT value FROM json_each(%(result_ids)s))
   AND (status IN ('READY', 'WAITING') OR (status = 'RUNNING' AND NOT cancel_requested))
RETURNING result_id,
    CASE status WHEN 'RUNNING' THEN status ELSE json_extract(errors_json, '$[#-1].status') END AS before, status AS after
