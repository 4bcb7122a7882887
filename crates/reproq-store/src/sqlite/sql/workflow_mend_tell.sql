-- Counts repairs.
INSERT INTO reproq_meta (key, value) VALUES ('workflow_repairs', '1')
ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(reproq_meta.value AS INTEGER) + 1 AS TEXT)
