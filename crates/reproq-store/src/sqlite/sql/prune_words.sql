-- Words that a later one has replaced, and words a day old about keys that nobody uses: the next enqueue states them anew.
-- ?1 keys in use as a JSON array
DELETE FROM reproq_key_limits
 WHERE NOT pinned
   AND (EXISTS (SELECT 1 FROM reproq_key_limits x WHERE x.key = reproq_key_limits.key AND x.limit_id > reproq_key_limits.limit_id AND NOT x.pinned)
        OR (created_at < strftime('%Y-%m-%d %H:%M:%f', 'now', '-1 day') AND key NOT IN (SELECT value FROM json_each(?1))))
