-- The text of a REAL is the number that somebody wrote; its value is not.
-- $1 keys, or null for all
SELECT key, tokens_per_second::text::float8 AS per_second, burst_size AS burst, stated, tat, (extract(epoch FROM last_refilled_at) * 1000000)::bigint AS refilled_us,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
  FROM rate_limits WHERE $1::text[] IS NULL OR key = ANY ($1) ORDER BY key LIMIT 1000
