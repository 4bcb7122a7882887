-- No run of the queue starts until somebody resumes it, or until the given time has passed. A pause of a paused queue
-- replaces it: reason, beginning and end.
INSERT INTO reproq_queue_controls (queue_name, paused, paused_at, reason, resume_at)
VALUES (%(name)s::text, TRUE, clock_timestamp(), %(reason)s::text, clock_timestamp() + make_interval(secs => %(seconds)s::float8))
ON CONFLICT (queue_name) DO UPDATE SET paused = TRUE, paused_at = EXCLUDED.paused_at, reason = EXCLUDED.reason,
    resume_at = EXCLUDED.resume_at, updated_at = clock_timestamp()
