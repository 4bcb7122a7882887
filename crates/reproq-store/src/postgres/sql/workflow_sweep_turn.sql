-- Whose turn it is to look at all workflows: whoever comes first after so long. No row in the answer: somebody has looked since.
-- $1 seconds
INSERT INTO reproq_meta (key, value) VALUES ('workflow_swept_at', clock_timestamp()::text)
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value
 WHERE reproq_meta.value::timestamptz <= clock_timestamp() - make_interval(secs => $1)
RETURNING 1
