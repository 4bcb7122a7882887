-- Ends a pause and wakes the workers. No row in the answer: the queue was not paused, or its pause was over already.
WITH resumed AS (
    UPDATE reproq_queue_controls SET paused = FALSE, paused_at = NULL, reason = NULL, resume_at = NULL, updated_at = clock_timestamp()
     WHERE queue_name = %(name)s::text AND paused AND (resume_at IS NULL OR resume_at > clock_timestamp())
    RETURNING queue_name
), woken AS (
    SELECT pg_notify('reproq_wake', queue_name) FROM resumed
)
-- A CTE that nothing reads is not executed, hence the count.
SELECT queue_name, (SELECT count(*) FROM woken) AS woken FROM resumed
