-- Schedules in the order of their names. A time that is none (infinity) reads as NULL.
-- $1 only this one (NULL: any), $2 only those whose time has come, $3 behind this name, $4 how many
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now)
SELECT name, cron_expr, timezone, every_seconds, jitter_seconds, catch_up, catch_up_limit, overlap, enabled, rebase, problem,
       CASE WHEN isfinite(start_at) THEN (extract(epoch FROM start_at) * 1000000)::bigint END AS start_at,
       CASE WHEN isfinite(end_at) THEN (extract(epoch FROM end_at) * 1000000)::bigint END AS end_at,
       CASE WHEN isfinite(next_run_at) THEN (extract(epoch FROM next_run_at) * 1000000)::bigint END AS next_run_at,
       CASE WHEN isfinite(last_run_at) THEN (extract(epoch FROM last_run_at) * 1000000)::bigint END AS last_run_at,
       task_path, payload_json::text AS payload, queue_name, priority, max_attempts, concurrency_key, concurrency_limit,
       options_json::text AS options, (extract(epoch FROM clock.now) * 1000000)::bigint AS now_us
  FROM periodic_tasks, clock
 WHERE ($1::text IS NULL OR name = $1) AND (NOT $2 OR (enabled AND (next_run_at <= clock.now OR rebase))) AND name > $3
 ORDER BY name LIMIT $4
