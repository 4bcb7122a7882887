-- The state of rates that the code states, full again for a day: without a row they are as full.
-- ?1 limit
DELETE FROM rate_limits WHERE key IN (
    SELECT key FROM rate_limits WHERE stated AND COALESCE(tat, 0) < (unixepoch('now') - 86400) * 1000000 LIMIT ?1)
