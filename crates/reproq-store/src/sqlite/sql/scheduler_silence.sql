-- Microseconds since a scheduler has looked.
SELECT CAST((julianday('now') - julianday(value)) * 86400000000.0 AS INTEGER) AS silent_us
  FROM reproq_meta WHERE key = 'scheduler_seen'
