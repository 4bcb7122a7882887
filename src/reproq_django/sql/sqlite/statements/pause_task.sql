-- No run of the task starts until somebody resumes it, or until the given time has passed; as pause_queue.sql.
INSERT INTO reproq_task_controls (task_path, paused, paused_at, reason, resume_at)
VALUES (%(name)s, TRUE, strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now'), %(reason)s,
    strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', CAST(%(seconds)s AS REAL) || ' seconds'))
ON CONFLICT (task_path) DO UPDATE SET paused = TRUE, paused_at = excluded.paused_at, reason = excluded.reason,
    resume_at = excluded.resume_at, updated_at = excluded.paused_at
