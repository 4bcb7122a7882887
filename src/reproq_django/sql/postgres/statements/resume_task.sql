-- Ends a pause and wakes the workers. No row in the answer: the task was not paused, or its pause was over already.
WITH resumed AS (
    UPDATE reproq_task_controls SET paused = FALSE, paused_at = NULL, reason = NULL, resume_at = NULL, updated_at = clock_timestamp()
     WHERE task_path = %(name)s::text AND paused AND (resume_at IS NULL OR resume_at > clock_timestamp())
    RETURNING task_path
), woken AS (
    -- Its runs may be in any queue.
    SELECT pg_notify('reproq_wake', '') FROM resumed
)
-- A CTE that nothing reads is not executed, hence the count.
SELECT task_path, (SELECT count(*) FROM woken) AS woken FROM resumed
