-- ?1 name, ?2 why it cannot fire
UPDATE periodic_tasks SET problem = ?2, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now') WHERE name = ?1 AND problem IS NOT ?2
