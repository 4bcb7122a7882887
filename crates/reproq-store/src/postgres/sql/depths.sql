SELECT queue_name, status, count(*) AS runs,
       count(*) FILTER (WHERE status = 'READY' AND gate = 1) AS scheduled,
       (extract(epoch FROM clock_timestamp() - min(GREATEST(run_after, enqueued_at)) FILTER (WHERE status = 'READY' AND gate <> 1)) * 1000000)::bigint AS oldest_us
  FROM task_runs GROUP BY queue_name, status ORDER BY queue_name, status
