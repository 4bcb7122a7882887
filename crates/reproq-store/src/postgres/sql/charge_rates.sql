-- Charges rates for what has been claimed. A rate that only runs name gets its row here; an operator's keeps its values.
-- $1 names, $2 per second, $3 bursts, $4 theoretical arrival times, $5 tokens left, $6 now in microseconds since 1970
INSERT INTO rate_limits AS l (key, tokens_per_second, burst_size, current_tokens, last_refilled_at, tat, stated)
SELECT c.key, c.per_second, c.burst, c.tokens, timestamptz 'epoch' + $6 * interval '1 microsecond', c.tat, TRUE
  FROM unnest($1::text[], $2::float8[], $3::int[], $4::bigint[], $5::float8[]) AS c (key, per_second, burst, tat, tokens)
 ORDER BY c.key
ON CONFLICT (key) DO UPDATE SET
    tat = EXCLUDED.tat, current_tokens = EXCLUDED.current_tokens, last_refilled_at = EXCLUDED.last_refilled_at,
    tokens_per_second = CASE WHEN l.stated THEN EXCLUDED.tokens_per_second ELSE l.tokens_per_second END,
    burst_size = CASE WHEN l.stated THEN EXCLUDED.burst_size ELSE l.burst_size END
