-- Schedules in the order of their names. Times are text, with or without a fraction; '...000' makes the present as long as the longest.
-- ?1 only this one (NULL: any), ?2 only those whose time has come, ?3 behind this name, ?4 how many
SELECT name, cron_expr, timezone, every_seconds, jitter_seconds, catch_up, catch_up_limit, overlap, enabled, rebase, problem,
       start_at, end_at, next_run_at, last_run_at, task_path, payload_json AS payload, queue_name, priority, max_attempts,
       concurrency_key, concurrency_limit, options_json AS options, strftime('%Y-%m-%d %H:%M:%f', 'now') || '000' AS now_us
  FROM periodic_tasks
 WHERE (?1 IS NULL OR name = ?1)
   AND (NOT ?2 OR (enabled AND (next_run_at <= strftime('%Y-%m-%d %H:%M:%f', 'now') || '000' OR rebase))) AND name > ?3
 ORDER BY name LIMIT ?4
