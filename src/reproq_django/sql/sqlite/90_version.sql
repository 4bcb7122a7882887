-- Last, in the same transaction: a worker that reads this number finds all of the above.
INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens) VALUES ('global', 0, 1, 0) ON CONFLICT (key) DO NOTHING;
INSERT INTO reproq_meta (key, value) VALUES ('schema_version', '{schema_version}')
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value WHERE reproq_meta.value <> EXCLUDED.value;
