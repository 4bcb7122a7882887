-- $1 id
SELECT r.result_id, r.status, r.queue_name, r.task_path, r.backend_alias, r.spec_hash, r.spec_json::text AS spec,
       r.errors_json::text AS errors, r.attempts_json::text AS history, r.progress_json::text AS progress, r.epoch, r.last_error, r.priority, r.attempts, r.max_attempts, r.crash_count,
       r.timeout_seconds::bigint AS timeout_seconds, CASE r.status WHEN 'READY' THEN r.gate::int END AS gate,
       NULLIF(r.lock_key, '') AS lock_key, NULLIF(r.concurrency_key, '') AS concurrency_key, r.concurrency_limit,
       NULLIF(r.fairness_key, '') AS fairness_key, NULLIF(r.rate_key, '') AS rate_key, r.rate_per_second, r.rate_burst,
       r.cancel_requested, r.leased_by, r.parent_id, r.wait_count, r.workflow_id, r.step, r.after_step,
       (extract(epoch FROM r.enqueued_at) * 1000000)::bigint AS enqueued_us,
       (extract(epoch FROM r.run_after) * 1000000)::bigint AS run_after_us,
       (extract(epoch FROM r.expires_at) * 1000000)::bigint AS expires_us,
       (extract(epoch FROM r.started_at) * 1000000)::bigint AS started_us,
       (extract(epoch FROM r.last_attempted_at) * 1000000)::bigint AS last_attempted_us,
       (extract(epoch FROM r.finished_at) * 1000000)::bigint AS finished_us,
       (extract(epoch FROM r.failed_at) * 1000000)::bigint AS failed_us,
       (extract(epoch FROM r.leased_until) * 1000000)::bigint AS leased_until_us,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
  FROM task_runs r WHERE r.result_id = $1
