-- Charges rates for what has been claimed. A rate that only runs name gets its row here; an operator's keeps its values.
-- ?1 [[name, per second, burst, theoretical arrival time, tokens left], ...], ?2 now in microseconds since 1970
INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens, last_refilled_at, tat, stated)
SELECT c.value ->> 0, c.value ->> 1, c.value ->> 2, c.value ->> 4, strftime('%Y-%m-%d %H:%M:%f', ?2 / 1000000.0, 'unixepoch'),
       c.value ->> 3, TRUE
  FROM json_each(?1) c WHERE TRUE
ON CONFLICT (key) DO UPDATE SET
    tat = excluded.tat, current_tokens = excluded.current_tokens, last_refilled_at = excluded.last_refilled_at,
    tokens_per_second = CASE WHEN rate_limits.stated THEN excluded.tokens_per_second ELSE rate_limits.tokens_per_second END,
    burst_size = CASE WHEN rate_limits.stated THEN excluded.burst_size ELSE rate_limits.burst_size END
