-- A schedule has been seen to: its next time, and whether it has fired now.
-- ?1 name, ?2 next time, ?3 it has fired
UPDATE periodic_tasks SET next_run_at = ?2, rebase = FALSE, problem = NULL, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
       last_run_at = CASE WHEN ?3 THEN strftime('%Y-%m-%d %H:%M:%f', 'now') ELSE last_run_at END
 WHERE name = ?1
