-- The trigger sees to it that one that fires again counts from now.
-- $1 name, $2 whether it fires
WITH before AS MATERIALIZED (SELECT name, enabled FROM periodic_tasks WHERE name = $1 FOR NO KEY UPDATE), changed AS (
    UPDATE periodic_tasks p SET enabled = $2, updated_at = clock_timestamp() FROM before b WHERE p.name = b.name AND b.enabled <> $2
)
SELECT enabled FROM before
