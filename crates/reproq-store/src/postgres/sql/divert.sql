-- Puts runs of tasks that are paused or counted with the keyed ones, so that they stand in nobody's way. Only at the heads of the
-- queues, where a claim would meet them: each run is moved once, whenever it was enqueued and by whom.
-- Ids go from step to step as arrays: as a join, each step would be planned for what the statistics say of the whole table.
-- $1 queues, $2 how deep to look
WITH met AS MATERIALIZED (
    SELECT head.result_id
      FROM unnest($1::text[]) AS q (queue_name) CROSS JOIN LATERAL (
        SELECT h.result_id, h.task_path FROM task_runs h
         WHERE h.queue_name = q.queue_name AND h.status = 'READY' AND h.gate = 0
         ORDER BY h.claim_key, h.result_id LIMIT $2) AS head
     WHERE head.task_path IN (SELECT task_path FROM reproq_diverted_tasks)
), taken AS MATERIALIZED (
    -- By id alone: with the state in the condition, the planner may prefer to filter the whole lane.
    SELECT r.result_id, r.status, r.gate FROM task_runs r
     WHERE r.result_id = ANY (ARRAY (SELECT result_id FROM met)) ORDER BY r.result_id FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE task_runs r SET gate = 2, visit_key = reproq_visit_key(NULL, NULL, NULL, NULL, r.task_path)
 WHERE r.result_id = ANY (ARRAY (SELECT result_id FROM taken WHERE status = 'READY' AND gate = 0))
