-- ?1 id
SELECT r.result_id, r.status, r.queue_name, r.task_path, r.backend_alias, r.spec_hash, r.spec_json AS spec,
       r.errors_json AS errors, r.attempts_json AS history, r.progress_json AS progress, r.epoch, r.last_error, r.priority, r.attempts, r.max_attempts, r.crash_count,
       r.timeout_seconds, CASE r.status WHEN 'READY' THEN r.gate END AS gate,
       NULLIF(r.lock_key, '') AS lock_key, NULLIF(r.concurrency_key, '') AS concurrency_key, r.concurrency_limit,
       NULLIF(r.fairness_key, '') AS fairness_key, NULLIF(r.rate_key, '') AS rate_key, r.rate_per_second, r.rate_burst,
       r.cancel_requested, r.leased_by, r.parent_id, r.wait_count, r.workflow_id, r.step, r.after_step,
       CAST(round(unixepoch(r.enqueued_at, 'subsec') * 1000) AS INTEGER) * 1000 AS enqueued_us,
       CAST(round(unixepoch(r.run_after, 'subsec') * 1000) AS INTEGER) * 1000 AS run_after_us,
       CAST(round(unixepoch(r.expires_at, 'subsec') * 1000) AS INTEGER) * 1000 AS expires_us,
       CAST(round(unixepoch(r.started_at, 'subsec') * 1000) AS INTEGER) * 1000 AS started_us,
       CAST(round(unixepoch(r.last_attempted_at, 'subsec') * 1000) AS INTEGER) * 1000 AS last_attempted_us,
       CAST(round(unixepoch(r.finished_at, 'subsec') * 1000) AS INTEGER) * 1000 AS finished_us,
       CAST(round(unixepoch(r.failed_at, 'subsec') * 1000) AS INTEGER) * 1000 AS failed_us,
       CAST(round(unixepoch(r.leased_until, 'subsec') * 1000) AS INTEGER) * 1000 AS leased_until_us,
       CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000 AS now_us
  FROM task_runs r WHERE r.result_id = ?1
