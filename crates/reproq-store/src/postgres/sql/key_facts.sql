-- What is known about keys, and the time. In the transaction that decides, it must be a statement of its own after the locking of
-- the keys: its snapshot and its clock are then younger than the locks, so every holder that let go of a key before has been
-- seen to do so. (Locking inside the statement that counts lets eight runs hold one lock.)
-- $1 locks, $2 concurrency keys, $3 names in reproq_key_limits, $4 names of rates that runs name themselves
SELECT 'now' AS about, NULL AS key, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS number, NULL::float8 AS amount
UNION ALL
SELECT 'lock', x.lock_key, NULL, NULL FROM task_runs x
 WHERE x.lock_key = ANY ($1) AND x.lock_key <> '' AND x.status = 'RUNNING' AND x.slot_no IS NOT NULL
UNION ALL
SELECT 'slot', x.concurrency_key, x.slot_no, NULL FROM task_runs x
 WHERE x.concurrency_key = ANY ($2) AND x.concurrency_key <> '' AND x.status = 'RUNNING' AND x.slot_no IS NOT NULL
UNION ALL
SELECT 'limit', word.key, word.burst, word.amount
  FROM unnest($3::text[]) AS named (key) CROSS JOIN LATERAL (
    SELECT k.key, k.burst, k.amount FROM reproq_key_limits k WHERE k.key = named.key
     ORDER BY k.pinned DESC, k.limit_id DESC LIMIT 1) AS word
UNION ALL
SELECT 'off', l.key, NULL, NULL FROM rate_limits l
 WHERE l.key = ANY ($4) AND NOT l.stated AND NOT (l.tokens_per_second > 0 AND l.burst_size > 0)
