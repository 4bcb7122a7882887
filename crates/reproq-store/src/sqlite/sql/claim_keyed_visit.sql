-- The first run behind each key and whether it could start now, visiting keys and not rows: a loose scan of the keyed
-- lane's index. claim_keyed.sql looks again.
-- ?1 queue, ?2 the key after which to go on, ?3 how many keys to visit
WITH RECURSIVE visited (visit_key, place) AS (
    SELECT (SELECT COALESCE('L' || NULLIF(lock_key, ''), 'C' || concurrency_key) FROM task_runs
             WHERE queue_name = ?1 AND status = 'READY' AND gate = 2 AND COALESCE('L' || NULLIF(lock_key, ''), 'C' || concurrency_key) > ?2
             ORDER BY COALESCE('L' || NULLIF(lock_key, ''), 'C' || concurrency_key) LIMIT 1), 1
    UNION ALL
    SELECT (SELECT COALESCE('L' || NULLIF(lock_key, ''), 'C' || concurrency_key) FROM task_runs
             WHERE queue_name = ?1 AND status = 'READY' AND gate = 2 AND COALESCE('L' || NULLIF(lock_key, ''), 'C' || concurrency_key) > v.visit_key
             ORDER BY COALESCE('L' || NULLIF(lock_key, ''), 'C' || concurrency_key) LIMIT 1), v.place + 1
      FROM visited v WHERE v.visit_key IS NOT NULL AND v.place < ?3
)
SELECT v.visit_key, v.place, r.result_id, r.claim_key,
       CASE WHEN r.concurrency_limit > 0 THEN NULLIF(r.concurrency_key, '') END AS concurrency_key,
       NOT EXISTS (
            SELECT 1 FROM task_runs x WHERE x.lock_key = r.lock_key AND x.lock_key <> '' AND x.slot_no IS NOT NULL AND x.status = 'RUNNING')
       AND (r.concurrency_limit <= 0 OR COALESCE(r.concurrency_key, '') = '' OR r.concurrency_limit > (
            SELECT count(*) FROM task_runs x
             WHERE x.concurrency_key = r.concurrency_key AND x.concurrency_key <> '' AND x.slot_no > 0 AND x.status = 'RUNNING')) AS free
  FROM visited v JOIN task_runs r ON r.result_id = (
    SELECT h.result_id FROM task_runs h
     WHERE h.queue_name = ?1 AND h.status = 'READY' AND h.gate = 2 AND COALESCE('L' || NULLIF(h.lock_key, ''), 'C' || h.concurrency_key) = v.visit_key
     ORDER BY h.claim_key, h.result_id LIMIT 1)
 WHERE NOT EXISTS (SELECT 1 FROM reproq_queue_controls c WHERE c.queue_name = ?1 AND c.paused)
