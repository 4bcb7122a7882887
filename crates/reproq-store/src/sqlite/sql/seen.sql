-- ?1 worker id, ?2 incarnation
UPDATE reproq_workers SET last_seen_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE worker_id = ?1 AND incarnation = ?2
