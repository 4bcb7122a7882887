-- ?1 seconds of waiting per point of priority
UPDATE reproq_meta SET value = ?1 WHERE key = 'priority_aging_seconds' AND value <> ?1
