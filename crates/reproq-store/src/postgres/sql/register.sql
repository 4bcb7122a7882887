-- $1 worker id, $2 incarnation, $3 hostname, $4 pid, $5 concurrency, $6 queues as JSON, $7 version, $8 whether enqueues should wake it
INSERT INTO reproq_workers (worker_id, incarnation, hostname, pid, concurrency, queues, version, started_at, last_seen_at, wants_wake)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, clock_timestamp(), clock_timestamp(), $8)
ON CONFLICT (worker_id) DO UPDATE SET
    incarnation = EXCLUDED.incarnation, hostname = EXCLUDED.hostname, pid = EXCLUDED.pid, concurrency = EXCLUDED.concurrency,
    queues = EXCLUDED.queues, version = EXCLUDED.version, started_at = EXCLUDED.started_at,
    last_seen_at = EXCLUDED.last_seen_at, wants_wake = EXCLUDED.wants_wake
