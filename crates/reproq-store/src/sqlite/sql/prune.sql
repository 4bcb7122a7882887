-- What prune_slice.sql has found, unless it has moved on since.
-- ?1 ids as a JSON array, ?2 states as a JSON array
DELETE FROM task_runs WHERE result_id IN (SELECT value FROM json_each(?1))
   AND status IN (SELECT value FROM json_each(?2)) AND status <> 'RUNNING'
