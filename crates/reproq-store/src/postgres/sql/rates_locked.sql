-- The rates in force among these, locked in one order, so that two claimers never wait for each other in a circle.
-- $1 names
SELECT key, tokens_per_second::text::float8 AS per_second, burst_size, tat, stated FROM rate_limits
 WHERE key = ANY ($1) AND tokens_per_second > 0 AND burst_size > 0
 ORDER BY key FOR NO KEY UPDATE
