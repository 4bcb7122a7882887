-- Writes a tick, unless it has been written before (an operator has put the schedule's time back).
-- ?1 name, ?2 time, ?3 state, ?4 count, ?5 last missed, ?6 reason
INSERT INTO periodic_runs (name, scheduled_at, state, count, missed_until, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT DO NOTHING
