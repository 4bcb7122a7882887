-- ?1 key, ?2 starts per second, ?3 burst
INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens, last_refilled_at, tat, stated)
VALUES (?1, ?2, ?3, ?3, strftime('%Y-%m-%d %H:%M:%f', 'now'), NULL, FALSE)
ON CONFLICT (key) DO UPDATE SET tokens_per_second = excluded.tokens_per_second, burst_size = excluded.burst_size,
    current_tokens = excluded.current_tokens, last_refilled_at = excluded.last_refilled_at, tat = NULL, stated = FALSE
