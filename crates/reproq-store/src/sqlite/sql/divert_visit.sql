-- The runs at the head of one queue whose task is paused or counted: a read, as claim_visit.sql is.
-- ?1 queue, ?2 how deep to look
SELECT head.result_id
  FROM (SELECT result_id, task_path FROM task_runs
         WHERE queue_name = ?1 AND status = 'READY' AND gate = 0 ORDER BY claim_key, result_id LIMIT ?2) AS head
 WHERE head.task_path IN (SELECT task_path FROM reproq_diverted_tasks)
