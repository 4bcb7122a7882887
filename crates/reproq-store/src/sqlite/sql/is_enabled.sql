-- ?1 name
SELECT enabled FROM periodic_tasks WHERE name = ?1
