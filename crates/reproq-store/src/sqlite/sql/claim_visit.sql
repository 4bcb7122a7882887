-- The head of one queue in claim order: a read, so that an idle worker never takes the write lock. Queues whose every start is
-- counted are claimed with the keyed runs; runs of a task that is paused or counted are passed over until divert.sql has put them
-- there.
-- ?1 queue, ?2 limit
SELECT head.result_id, head.claim_key
  FROM (SELECT result_id, claim_key, task_path FROM task_runs
         WHERE queue_name = ?1 AND status = 'READY' AND gate = 0
           AND NOT EXISTS (SELECT 1 FROM reproq_paused_queues p WHERE p.queue_name = ?1)
           AND NOT EXISTS (SELECT 1 FROM reproq_limited_queues l WHERE l.queue_name IN ('', ?1))
         ORDER BY claim_key, result_id LIMIT ?2) AS head
 WHERE head.task_path NOT IN (SELECT task_path FROM reproq_diverted_tasks)
 ORDER BY head.claim_key, head.result_id
