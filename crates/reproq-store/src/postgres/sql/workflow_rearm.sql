-- The run for the case of a failure waits again, if it never started.
-- $1 id
UPDATE task_runs r SET status = 'WAITING', updated_at = clock_timestamp(), finished_at = NULL, last_error = NULL, cancel_requested = FALSE
  FROM workflow_runs w WHERE w.workflow_id = $1 AND r.result_id = w.failure_result_id AND r.status = 'CANCELLED' AND r.attempts = 0
