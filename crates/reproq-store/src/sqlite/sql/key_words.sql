-- For each key the word that counts: a pinned one, else the latest.
-- ?1 keys as a JSON array, or null for all
SELECT key, amount, burst, pinned FROM reproq_key_limits k
 WHERE (?1 IS NULL OR key IN (SELECT value FROM json_each(?1)))
   AND limit_id = (SELECT x.limit_id FROM reproq_key_limits x WHERE x.key = k.key ORDER BY x.pinned DESC, x.limit_id DESC LIMIT 1)
 ORDER BY key LIMIT 1000
