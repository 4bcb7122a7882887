-- What prune_logs_slice.sql has found.
-- ?1 rowids as a JSON array
DELETE FROM reproq_attempt_logs WHERE rowid IN (SELECT value FROM json_each(?1))
