-- Runs of a workflow that a cancellation has not reached yet: what waits first, so that nothing of it starts meanwhile.
-- ?1 id, ?2 limit
SELECT r.result_id FROM task_runs r
 WHERE r.workflow_id = ?1 AND (r.status IN ('READY', 'WAITING') OR (r.status = 'RUNNING' AND NOT r.cancel_requested))
 ORDER BY CASE r.status WHEN 'WAITING' THEN 0 WHEN 'READY' THEN 1 ELSE 2 END, r.result_id LIMIT ?2
