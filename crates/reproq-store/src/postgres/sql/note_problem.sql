-- $1 name, $2 why it cannot fire
UPDATE periodic_tasks SET problem = $2, updated_at = clock_timestamp() WHERE name = $1 AND problem IS DISTINCT FROM $2
