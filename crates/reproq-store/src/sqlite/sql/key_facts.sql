-- What is known about keys, and the time. SQLite has one writer: within the transaction that decides, nothing can come between
-- this look and the claim.
-- ?1 locks, ?2 concurrency keys, ?3 names in reproq_key_limits, ?4 names of rates that runs name themselves: JSON arrays
SELECT 'now' AS about, NULL AS key, CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER) AS number, NULL AS amount
UNION ALL
SELECT 'lock', x.lock_key, NULL, NULL FROM json_each(?1) j JOIN task_runs x
    ON x.lock_key = j.value AND x.lock_key <> '' AND x.status = 'RUNNING' AND x.slot_no IS NOT NULL
UNION ALL
SELECT 'slot', x.concurrency_key, x.slot_no, NULL FROM json_each(?2) j JOIN task_runs x
    ON x.concurrency_key = j.value AND x.concurrency_key <> '' AND x.status = 'RUNNING' AND x.slot_no IS NOT NULL
UNION ALL
SELECT 'limit', k.key, k.burst, k.amount FROM json_each(?3) j JOIN reproq_key_limits k ON k.limit_id = (
    SELECT w.limit_id FROM reproq_key_limits w WHERE w.key = j.value ORDER BY w.pinned DESC, w.limit_id DESC LIMIT 1)
UNION ALL
SELECT 'off', l.key, NULL, NULL FROM json_each(?4) j JOIN rate_limits l
    ON l.key = j.value AND NOT l.stated AND NOT (l.tokens_per_second > 0 AND l.burst_size > 0)
