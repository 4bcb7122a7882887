-- ?1 incarnation
SELECT result_id, epoch, cancel_requested FROM task_runs WHERE incarnation = ?1 AND status = 'RUNNING'
