-- No run of the queue starts until somebody resumes it, or until the given time has passed. A pause of a paused queue
-- replaces it: reason, beginning and end.
INSERT INTO reproq_queue_controls (queue_name, paused, paused_at, reason, resume_at)
VALUES (%(name)s, TRUE, strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'), %(reason)s,
    strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', CAST(%(seconds)s AS REAL) || ' seconds'))
ON CONFLICT (queue_name) DO UPDATE SET paused = TRUE, paused_at = excluded.paused_at, reason = excluded.reason,
    resume_at = excluded.resume_at, updated_at = excluded.paused_at
