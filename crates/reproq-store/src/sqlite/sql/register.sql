-- ?1 worker id, ?2 incarnation, ?3 hostname, ?4 pid, ?5 concurrency, ?6 queues as JSON, ?7 version
INSERT INTO reproq_workers (worker_id, incarnation, hostname, pid, concurrency, queues, version, started_at, last_seen_at, wants_wake)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, strftime('%Y-%m-%d %H:%M:%f', 'now'), strftime('%Y-%m-%d %H:%M:%f', 'now'), FALSE)
ON CONFLICT (worker_id) DO UPDATE SET
    incarnation = excluded.incarnation, hostname = excluded.hostname, pid = excluded.pid, concurrency = excluded.concurrency,
    queues = excluded.queues, version = excluded.version, started_at = excluded.started_at, last_seen_at = excluded.last_seen_at
