-- Runs of a workflow that a cancellation has not reached yet, the one for its failure included: what waits first, so that nothing of it
-- starts meanwhile.
SELECT r.result_id FROM task_runs r
 WHERE r.workflow_id = %(id)s::uuid AND (r.status IN ('READY', 'WAITING') OR (r.status = 'RUNNING' AND NOT r.cancel_requested))
 ORDER BY CASE r.status WHEN 'WAITING' THEN 0 WHEN 'READY' THEN 1 ELSE 2 END, r.result_id LIMIT %(limit)s
