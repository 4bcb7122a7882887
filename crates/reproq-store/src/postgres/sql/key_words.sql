-- For each key the word that counts: a pinned one, else the latest.
-- $1 keys, or null for all
SELECT DISTINCT ON (key) key, amount, burst, pinned FROM reproq_key_limits
 WHERE $1::text[] IS NULL OR key = ANY ($1) ORDER BY key, pinned DESC, limit_id DESC LIMIT 1000
