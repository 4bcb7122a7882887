-- A batch of words that a later one has replaced, and of words a day old about keys that nobody uses: the next enqueue states
-- them anew. NOT IN, and not a join: it is hashed however many keys are in use.
-- $1 keys in use, $2 limit
DELETE FROM reproq_key_limits WHERE limit_id IN (
    SELECT k.limit_id FROM reproq_key_limits k
     WHERE NOT k.pinned
       AND (EXISTS (SELECT 1 FROM reproq_key_limits x WHERE x.key = k.key AND x.limit_id > k.limit_id AND NOT x.pinned)
            OR (k.created_at < clock_timestamp() - interval '1 day' AND k.key NOT IN (SELECT unnest($1::text[]))))
     LIMIT $2)
