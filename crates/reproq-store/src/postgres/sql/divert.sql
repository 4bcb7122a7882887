-- Puts runs of tasks that are paused or counted with the keyed ones, so that they stand in nobody's way. Only at the heads of the
-- queues, where a claim would meet them: each run is moved once, whenever it was enqueued and by whom.
-- $1 queues, $2 how deep to look
WITH met AS MATERIALIZED (
    SELECT r.result_id
      FROM unnest($1::text[]) AS q (queue_name) CROSS JOIN LATERAL (
        SELECT h.result_id, h.task_path FROM task_runs h
         WHERE h.queue_name = q.queue_name AND h.status = 'READY' AND h.gate = 0
         ORDER BY h.claim_key, h.result_id LIMIT $2) AS head
      JOIN task_runs r ON r.result_id = head.result_id
     WHERE head.task_path IN (SELECT task_path FROM reproq_diverted_tasks) AND r.status = 'READY' AND r.gate = 0
       FOR NO KEY UPDATE OF r SKIP LOCKED
)
UPDATE task_runs r SET gate = 2, visit_key = reproq_visit_key(NULL, NULL, NULL, NULL, r.task_path)
  FROM met WHERE r.result_id = met.result_id
