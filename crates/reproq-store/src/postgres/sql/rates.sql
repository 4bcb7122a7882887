-- The rates in force among these. The text of a REAL is the number that somebody wrote; its value is not.
-- $1 names
SELECT key, tokens_per_second::text::float8 AS per_second, burst_size, tat, stated FROM rate_limits
 WHERE key = ANY ($1) AND tokens_per_second > 0 AND burst_size > 0
