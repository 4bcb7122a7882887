-- The first few runs behind each combination of keys, visiting combinations and not runs: a loose scan of the keyed lane's
-- index. Of a group only so many are visited whose lock is free, then the scan goes on with the next group. And the head of
-- the queue, if its every start is counted. Nothing is decided here.
-- ?1 queue, ?2 the visit_key after which to go on, ?3 how many combinations to visit, ?4 how many of a group, ?5 how many runs of
-- each, ?6 how many runs of a counted queue
WITH RECURSIVE visited (visit_key, place, group_before, free_before) AS (
    SELECT (SELECT visit_key FROM task_runs WHERE queue_name = ?1 AND status = 'READY' AND gate = 2 AND visit_key > ?2
             ORDER BY visit_key LIMIT 1), 1, '', 0
    UNION ALL
    -- Of the group so far: those whose lock is free, this one included.
    SELECT (SELECT visit_key FROM task_runs
             WHERE queue_name = ?1 AND status = 'READY' AND gate = 2 AND visit_key > CASE
                WHEN ?4 > CASE WHEN substr(v.visit_key, 1, instr(v.visit_key, char(31))) = v.group_before THEN v.free_before ELSE 0 END + NOT EXISTS (
                    SELECT 1 FROM task_runs x
                     WHERE x.lock_key <> '' AND x.status = 'RUNNING' AND x.slot_no IS NOT NULL AND x.lock_key = substr(
                        v.visit_key, instr(v.visit_key, char(31)) + 1,
                        instr(substr(v.visit_key, instr(v.visit_key, char(31)) + 1), char(31)) - 1))
                THEN v.visit_key ELSE substr(v.visit_key, 1, instr(v.visit_key, char(31)) - 1) || ' ' END
             ORDER BY visit_key LIMIT 1),
           v.place + 1, substr(v.visit_key, 1, instr(v.visit_key, char(31))),
           CASE WHEN substr(v.visit_key, 1, instr(v.visit_key, char(31))) = v.group_before THEN v.free_before ELSE 0 END + NOT EXISTS (
                SELECT 1 FROM task_runs x
                 WHERE x.lock_key <> '' AND x.status = 'RUNNING' AND x.slot_no IS NOT NULL AND x.lock_key = substr(
                    v.visit_key, instr(v.visit_key, char(31)) + 1,
                    instr(substr(v.visit_key, instr(v.visit_key, char(31)) + 1), char(31)) - 1))
      FROM visited v WHERE v.visit_key IS NOT NULL AND v.place < ?3
)
SELECT v.place, v.visit_key, substr(v.visit_key, 1, instr(v.visit_key, char(31)) - 1) AS group_key,
       r.result_id, r.queue_name, r.claim_key, r.task_path, NULLIF(r.lock_key, '') AS lock_key,
       NULLIF(r.concurrency_key, '') AS concurrency_key, r.concurrency_limit, NULLIF(r.rate_key, '') AS rate_key,
       r.rate_per_second, r.rate_burst, r.over_limit, COALESCE(r.expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now'), 0) AS expired,
       r.over_limit <> 2 OR NOT EXISTS (
            SELECT 1 FROM task_runs n
             WHERE n.queue_name = r.queue_name AND n.visit_key = r.visit_key AND n.status = 'READY' AND n.gate = 2
               AND n.result_id > r.result_id AND n.over_limit <> 1
               AND COALESCE(n.expires_at > strftime('%Y-%m-%d %H:%M:%f', 'now'), TRUE)) AS is_latest
  FROM visited v JOIN task_runs r ON r.result_id IN (
    SELECT h.result_id FROM task_runs h
     WHERE h.queue_name = ?1 AND h.status = 'READY' AND h.gate = 2 AND h.visit_key = v.visit_key
     ORDER BY h.claim_key, h.result_id LIMIT ?5)
 WHERE NOT EXISTS (SELECT 1 FROM reproq_paused_queues p WHERE p.queue_name = ?1)
   AND r.task_path NOT IN (SELECT task_path FROM reproq_paused_tasks)
UNION ALL
SELECT 0, NULL, 'Q' || ?1, head.result_id, ?1, head.claim_key, head.task_path, NULL, NULL, 0, NULL, NULL, NULL, 0,
       COALESCE(head.expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now'), 0), 1
  FROM (SELECT result_id, claim_key, task_path, expires_at FROM task_runs
         WHERE queue_name = ?1 AND status = 'READY' AND gate = 0
           AND NOT EXISTS (SELECT 1 FROM reproq_paused_queues p WHERE p.queue_name = ?1)
           AND EXISTS (SELECT 1 FROM reproq_limited_queues l WHERE l.queue_name IN ('', ?1))
         ORDER BY claim_key, result_id LIMIT ?6) AS head
 WHERE head.task_path NOT IN (SELECT task_path FROM reproq_diverted_tasks)
