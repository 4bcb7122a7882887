-- No run of the task starts until somebody resumes it, or until the given time has passed; as pause_queue.sql.
INSERT INTO reproq_task_controls (task_path, paused, paused_at, reason, resume_at)
VALUES (%(name)s::text, TRUE, clock_timestamp(), %(reason)s::text, clock_timestamp() + make_interval(secs => %(seconds)s::float8))
ON CONFLICT (task_path) DO UPDATE SET paused = TRUE, paused_at = EXCLUDED.paused_at, reason = EXCLUDED.reason,
    resume_at = EXCLUDED.resume_at, updated_at = clock_timestamp()
