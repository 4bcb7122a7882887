-- Whose turn it is to look at all workflows: whoever comes first after so long. No row in the answer: somebody has looked since.
-- ?1 age as a modifier
INSERT INTO reproq_meta (key, value) VALUES ('workflow_swept_at', strftime('%Y-%m-%d %H:%M:%f', 'now'))
ON CONFLICT (key) DO UPDATE SET value = excluded.value
 WHERE reproq_meta.value <= strftime('%Y-%m-%d %H:%M:%f', 'now', ?1)
RETURNING 1
