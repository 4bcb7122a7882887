-- ?1 keys as a JSON array, or null for all
SELECT key, tokens_per_second AS per_second, burst_size AS burst, stated, tat, CAST(round(unixepoch(last_refilled_at, 'subsec') * 1000) AS INTEGER) * 1000 AS refilled_us,
       CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000 AS now_us
  FROM rate_limits WHERE ?1 IS NULL OR key IN (SELECT value FROM json_each(?1)) ORDER BY key LIMIT 1000
