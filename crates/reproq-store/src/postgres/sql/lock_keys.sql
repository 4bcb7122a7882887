-- Which of the keys this transaction may decide about. Transaction locks, so a pooler is no obstacle; never waits.
-- $1 the keys, each with its name space in front
SELECT k.key FROM unnest($1::text[]) AS k (key)
 WHERE pg_try_advisory_xact_lock(hashtextextended('reproq:' || k.key, 0))
