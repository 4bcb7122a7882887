-- A scheduler has looked.
INSERT INTO reproq_meta (key, value) VALUES ('scheduler_seen', strftime('%Y-%m-%dT%H:%M:%f000+00:00', 'now'))
ON CONFLICT (key) DO UPDATE SET value = excluded.value
