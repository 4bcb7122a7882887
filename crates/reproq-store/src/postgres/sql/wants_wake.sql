-- $1 worker id, $2 incarnation, $3 whether enqueues should wake it
UPDATE reproq_workers SET wants_wake = $3, last_seen_at = clock_timestamp() WHERE worker_id = $1 AND incarnation = $2
