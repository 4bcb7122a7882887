-- Runs of a schedule that have not ended, the oldest tick first.
-- ?1 name
SELECT r.result_id, r.status FROM periodic_runs p JOIN task_runs r ON r.result_id = p.result_id
 WHERE p.name = ?1 AND r.status IN ('READY', 'WAITING', 'RUNNING')
 ORDER BY p.scheduled_at
