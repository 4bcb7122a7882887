-- The first run behind each key, visiting keys and not rows: a loose scan of the keyed lane's index.
-- ?1 queue, ?2 the key after which to go on, ?3 how many keys to visit
WITH RECURSIVE visited (visit_key) AS (
    SELECT (SELECT COALESCE(NULLIF(lock_key, ''), concurrency_key) FROM task_runs
             WHERE queue_name = ?1 AND status = 'READY' AND gate = 2 AND COALESCE(NULLIF(lock_key, ''), concurrency_key) > ?2
             ORDER BY COALESCE(NULLIF(lock_key, ''), concurrency_key) LIMIT 1)
    UNION ALL
    SELECT (SELECT COALESCE(NULLIF(lock_key, ''), concurrency_key) FROM task_runs
             WHERE queue_name = ?1 AND status = 'READY' AND gate = 2 AND COALESCE(NULLIF(lock_key, ''), concurrency_key) > v.visit_key
             ORDER BY COALESCE(NULLIF(lock_key, ''), concurrency_key) LIMIT 1)
      FROM visited v WHERE v.visit_key IS NOT NULL
    LIMIT ?3
)
SELECT v.visit_key, r.result_id, r.claim_key, CASE WHEN r.concurrency_limit > 0 THEN NULLIF(r.concurrency_key, '') END AS concurrency_key
  FROM visited v JOIN task_runs r ON r.result_id = (
    SELECT h.result_id FROM task_runs h
     WHERE h.queue_name = ?1 AND h.status = 'READY' AND h.gate = 2 AND COALESCE(NULLIF(h.lock_key, ''), h.concurrency_key) = v.visit_key
     ORDER BY h.claim_key, h.result_id LIMIT 1)
 WHERE NOT EXISTS (SELECT 1 FROM reproq_queue_controls c WHERE c.queue_name = ?1 AND c.paused)
 ORDER BY r.claim_key, r.result_id
