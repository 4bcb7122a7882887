SELECT worker_id, hostname, concurrency, queues, COALESCE(version, '') AS version,
       CAST((julianday('now') - julianday(last_seen_at)) * 86400000000.0 AS INTEGER) AS silent_us
  FROM reproq_workers ORDER BY worker_id
