-- Ends a pause. No row in the answer: the queue was not paused, or its pause was over already.
UPDATE reproq_queue_controls SET paused = FALSE, paused_at = NULL, reason = NULL, resume_at = NULL, updated_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')
 WHERE queue_name = %(name)s AND paused AND (resume_at IS NULL OR resume_at > strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'))
RETURNING queue_name
