-- The first few runs behind each key, visiting keys and not rows: a loose scan of the keyed lane's index.
-- Nothing is locked yet and nothing is decided: claim_keyed.sql looks again under the keys' locks.
-- $1 queues, $2 for each queue the key after which to go on, $3 how many keys to visit per queue, $4 how many runs per key
WITH RECURSIVE listening AS (
    SELECT q.queue_name, q.after_key FROM unnest($1::text[], $2::text[]) AS q (queue_name, after_key)
     WHERE NOT EXISTS (SELECT 1 FROM reproq_queue_controls c WHERE c.queue_name = q.queue_name AND c.paused)
), visited (queue_name, visit_key, place) AS (
    SELECT l.queue_name, (
        SELECT COALESCE('L' || NULLIF(r.lock_key, ''), 'C' || r.concurrency_key) FROM task_runs r
         WHERE r.queue_name = l.queue_name AND r.status = 'READY' AND r.gate = 2
           AND COALESCE('L' || NULLIF(r.lock_key, ''), 'C' || r.concurrency_key) > l.after_key
         ORDER BY COALESCE('L' || NULLIF(r.lock_key, ''), 'C' || r.concurrency_key) LIMIT 1), 1::bigint
      FROM listening l
    UNION ALL
    SELECT v.queue_name, (
        SELECT COALESCE('L' || NULLIF(r.lock_key, ''), 'C' || r.concurrency_key) FROM task_runs r
         WHERE r.queue_name = v.queue_name AND r.status = 'READY' AND r.gate = 2
           AND COALESCE('L' || NULLIF(r.lock_key, ''), 'C' || r.concurrency_key) > v.visit_key
         ORDER BY COALESCE('L' || NULLIF(r.lock_key, ''), 'C' || r.concurrency_key) LIMIT 1), v.place + 1
      FROM visited v WHERE v.visit_key IS NOT NULL AND v.place < $3
)
SELECT v.queue_name, v.visit_key, v.place, head.result_id, head.lock_key, head.concurrency_key
  FROM visited v CROSS JOIN LATERAL (
    SELECT r.result_id, r.claim_key, NULLIF(r.lock_key, '') AS lock_key,
           CASE WHEN r.concurrency_limit > 0 THEN NULLIF(r.concurrency_key, '') END AS concurrency_key
      FROM task_runs r
     WHERE r.queue_name = v.queue_name AND r.status = 'READY' AND r.gate = 2
       AND COALESCE('L' || NULLIF(r.lock_key, ''), 'C' || r.concurrency_key) = v.visit_key
     ORDER BY r.claim_key, r.result_id LIMIT $4) AS head
 WHERE v.visit_key IS NOT NULL
