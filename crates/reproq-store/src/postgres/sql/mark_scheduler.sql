-- A scheduler has looked. Nobody waits for another one that says the same.
INSERT INTO reproq_meta (key, value)
SELECT 'scheduler_seen', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
 WHERE NOT EXISTS (SELECT FROM reproq_meta WHERE key = 'scheduler_seen')
    OR EXISTS (SELECT FROM reproq_meta WHERE key = 'scheduler_seen' FOR NO KEY UPDATE SKIP LOCKED)
ON CONFLICT (key) DO UPDATE SET value = excluded.value
