-- The run of a tick. ?1 name, ?2 time, ?3 run
UPDATE periodic_runs SET result_id = ?3 WHERE name = ?1 AND scheduled_at = ?2
