-- The runs for the case of a failure: WAITING -> READY when there was one, else -> CANCELLED.
-- ?1 a JSON array of arrays: run, whether it starts (0, 1)
UPDATE task_runs SET status = CASE WHEN f.value ->> 1 THEN 'READY' ELSE 'CANCELLED' END,
    updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
    finished_at = CASE WHEN NOT f.value ->> 1 THEN strftime('%Y-%m-%d %H:%M:%f', 'now') END,
    last_error = CASE WHEN NOT f.value ->> 1 THEN 'the workflow succeeded, so this was not needed' END,
    errors_json = CASE WHEN f.value ->> 1 THEN errors_json ELSE json_insert(errors_json, '$[#]', json_object(
        'kind', 'discarded', 'message', 'the workflow succeeded, so this was not needed', 'attempt', attempts,
        'at', strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))) END
  FROM json_each(?1) f WHERE result_id = f.value ->> 0 AND status = 'WAITING'
RETURNING queue_name, status
