-- What a worker runs and somebody wants cancelled. ?1 incarnation
SELECT result_id, epoch FROM task_runs WHERE incarnation = ?1 AND status = 'RUNNING' AND cancel_requested
