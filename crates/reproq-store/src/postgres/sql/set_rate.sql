-- $1 key, $2 starts per second, $3 burst
INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens, last_refilled_at, tat, stated)
VALUES ($1, $2, $3::int, $3::int, clock_timestamp(), NULL, FALSE)
ON CONFLICT (key) DO UPDATE SET tokens_per_second = EXCLUDED.tokens_per_second, burst_size = EXCLUDED.burst_size,
    current_tokens = EXCLUDED.current_tokens, last_refilled_at = EXCLUDED.last_refilled_at, tat = NULL, stated = FALSE
