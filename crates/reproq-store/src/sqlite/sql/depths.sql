SELECT queue_name, status, count(*) AS runs,
       count(*) FILTER (WHERE status = 'READY' AND gate = 1) AS scheduled,
       CAST((julianday('now') - julianday(MIN(MAX(COALESCE(run_after, enqueued_at), enqueued_at)) FILTER (WHERE status = 'READY' AND gate <> 1))) * 86400000000.0 AS INTEGER) AS oldest_us
  FROM task_runs GROUP BY queue_name, status ORDER BY queue_name, status
