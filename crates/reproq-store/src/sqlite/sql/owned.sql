-- ?1 incarnation
SELECT result_id, epoch, cancel_requested,
       CAST((julianday(leased_until) - julianday('now')) * 86400000000.0 AS INTEGER) AS left_us
  FROM task_runs WHERE incarnation = ?1 AND status = 'RUNNING'
