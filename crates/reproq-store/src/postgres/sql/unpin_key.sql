-- $1 key
DELETE FROM reproq_key_limits WHERE key = $1 AND pinned
