-- Microseconds since a scheduler has looked.
SELECT (extract(epoch FROM clock_timestamp() - value::timestamptz) * 1000000)::bigint AS silent_us
  FROM reproq_meta WHERE key = 'scheduler_seen'
