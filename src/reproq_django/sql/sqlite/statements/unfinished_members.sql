-- The runs of a workflow that have not ended, the one that waits for its failure included.
SELECT result_id FROM task_runs WHERE workflow_id = %(id)s AND status IN ('READY', 'RUNNING', 'WAITING') ORDER BY result_id
