SELECT worker_id, hostname, concurrency, queues::text AS queues, COALESCE(version, '') AS version,
       (extract(epoch FROM clock_timestamp() - last_seen_at) * 1000000)::bigint AS silent_us
  FROM reproq_workers ORDER BY worker_id
