-- The state of rates that the code states, full again for a day: without a row they are as full.
DELETE FROM rate_limits WHERE stated AND COALESCE(tat, 0) < (unixepoch('now') - 86400) * 1000000
