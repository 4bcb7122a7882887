-- The newest ticks are kept, and those whose run has not ended if the schedule asks for it.
-- ?1 name, ?2 how many to keep, ?3 keep those whose run has not ended
DELETE FROM periodic_runs
 WHERE name = ?1
   AND scheduled_at < (SELECT scheduled_at FROM periodic_runs WHERE name = ?1 ORDER BY scheduled_at DESC LIMIT 1 OFFSET ?2 - 1)
   AND NOT (?3 AND EXISTS (SELECT 1 FROM task_runs r
                            WHERE r.result_id = periodic_runs.result_id AND r.status IN ('READY', 'WAITING', 'RUNNING')))
