-- The rates in force among these.
-- ?1 names as a JSON array
SELECT l.key, l.tokens_per_second AS per_second, l.burst_size, l.tat, l.stated FROM json_each(?1) j JOIN rate_limits l
    ON l.key = j.value AND l.tokens_per_second > 0 AND l.burst_size > 0
