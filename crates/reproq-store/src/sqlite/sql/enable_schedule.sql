-- The trigger sees to it that one that fires again counts from now.
-- ?1 name, ?2 whether it fires
UPDATE periodic_tasks SET enabled = ?2, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE name = ?1 AND enabled <> ?2
