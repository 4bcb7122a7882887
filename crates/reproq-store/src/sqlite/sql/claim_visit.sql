-- The head of one queue in claim order: a read, so that an idle worker never takes the write lock.
-- ?1 queue, ?2 limit
SELECT result_id, claim_key FROM task_runs
 WHERE queue_name = ?1 AND status = 'READY' AND gate = 0
   AND NOT EXISTS (SELECT 1 FROM reproq_queue_controls c WHERE c.queue_name = ?1 AND c.paused)
 ORDER BY claim_key, result_id LIMIT ?2
