-- Microseconds until the next time of any schedule that fires.
SELECT (extract(epoch FROM min(next_run_at) - clock_timestamp()) * 1000000)::bigint AS wait_us
  FROM periodic_tasks WHERE enabled AND next_run_at > clock_timestamp() AND isfinite(next_run_at)
