-- The run for the case of a failure waits again, if it never started.
-- ?1 id
UPDATE task_runs SET status = 'WAITING', updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), finished_at = NULL, last_error = NULL,
    cancel_requested = FALSE
 WHERE result_id = (SELECT w.failure_result_id FROM workflow_runs w WHERE w.workflow_id = ?1) AND status = 'CANCELLED' AND attempts = 0
