-- Microseconds until the next time of any schedule that fires.
SELECT CAST((julianday(MIN(next_run_at)) - julianday('now')) * 86400000000.0 AS INTEGER) AS wait_us
  FROM periodic_tasks WHERE enabled AND next_run_at > strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'
