-- Words that a later one has replaced, and words a day old about keys that nobody uses: the next enqueue states them anew.
-- $1 keys in use
DELETE FROM reproq_key_limits k
 WHERE NOT k.pinned
   AND (EXISTS (SELECT 1 FROM reproq_key_limits x WHERE x.key = k.key AND x.limit_id > k.limit_id AND NOT x.pinned)
        OR (k.created_at < clock_timestamp() - interval '1 day' AND NOT (k.key = ANY ($1::text[]))))
