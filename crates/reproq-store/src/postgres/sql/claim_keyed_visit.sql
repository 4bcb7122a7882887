-- The first few runs behind each combination of keys, visiting combinations and not runs: a loose scan of the keyed lane's
-- index. Of a group only so many are visited whose lock is free, then the scan goes on with the next group. And the head of
-- each queue whose every start is counted. Nothing is locked and nothing is decided here.
-- $1 queues, $2 for each queue the visit_key after which to go on, $3 how many combinations to visit per queue, $4 how many of a
-- group, $5 how many runs of each, $6 how many runs of a counted queue
WITH RECURSIVE listening AS MATERIALIZED (
    SELECT q.queue_name, q.after_key COLLATE "C" AS after_key FROM unnest($1::text[], $2::text[]) AS q (queue_name, after_key)
     WHERE q.queue_name NOT IN (SELECT queue_name FROM reproq_paused_queues)
), visited (queue_name, visit_key, group_key, place, free_in_group) AS (
    SELECT l.queue_name, f.visit_key, split_part(f.visit_key, E'\x1f', 1), 1::bigint, 1
      FROM listening l CROSS JOIN LATERAL (
        SELECT r.visit_key FROM task_runs r
         WHERE r.queue_name = l.queue_name AND r.status = 'READY' AND r.gate = 2 AND r.visit_key > l.after_key
         ORDER BY r.visit_key LIMIT 1) AS f
    UNION ALL
    SELECT v.queue_name, n.visit_key, split_part(n.visit_key, E'\x1f', 1), v.place + 1,
           CASE WHEN split_part(n.visit_key, E'\x1f', 1) = v.group_key THEN v.free_in_group ELSE 0 END
           + CASE WHEN split_part(n.visit_key, E'\x1f', 2) <> '' AND EXISTS (
                SELECT 1 FROM task_runs x WHERE x.lock_key = split_part(n.visit_key, E'\x1f', 2) AND x.lock_key <> ''
                   AND x.status = 'RUNNING' AND x.slot_no IS NOT NULL) THEN 0 ELSE 1 END
      FROM visited v CROSS JOIN LATERAL (
        SELECT r.visit_key FROM task_runs r
         WHERE r.queue_name = v.queue_name AND r.status = 'READY' AND r.gate = 2
           AND r.visit_key > CASE WHEN v.free_in_group >= $4 THEN v.group_key || ' ' ELSE v.visit_key END
         ORDER BY r.visit_key LIMIT 1) AS n
     WHERE v.place < $3
)
SELECT v.place, v.visit_key, v.group_key, head.*
  FROM visited v CROSS JOIN LATERAL (
    SELECT r.result_id, r.queue_name, r.claim_key, r.task_path, NULLIF(r.lock_key, '') AS lock_key,
           NULLIF(r.concurrency_key, '') AS concurrency_key, r.concurrency_limit, NULLIF(r.rate_key, '') AS rate_key,
           r.rate_per_second, r.rate_burst, r.over_limit, COALESCE(r.expires_at <= clock_timestamp(), FALSE) AS expired,
           r.over_limit <> 2 OR NOT EXISTS (
                SELECT 1 FROM task_runs n
                 WHERE n.queue_name = r.queue_name AND n.visit_key = r.visit_key AND n.status = 'READY' AND n.gate = 2
                   AND n.result_id > r.result_id AND n.over_limit <> 1 AND COALESCE(n.expires_at > clock_timestamp(), TRUE)) AS is_latest
      FROM task_runs r
     WHERE r.queue_name = v.queue_name AND r.status = 'READY' AND r.gate = 2 AND r.visit_key = v.visit_key
     ORDER BY r.claim_key, r.result_id LIMIT $5) AS head
 WHERE head.task_path NOT IN (SELECT task_path FROM reproq_paused_tasks)
UNION ALL
SELECT 0, NULL, 'Q' || l.queue_name, head.*
  FROM listening l CROSS JOIN LATERAL (
    SELECT r.result_id, r.queue_name, r.claim_key, r.task_path, NULL, NULL, 0, NULL, NULL::float8, NULL::int, 0::smallint,
           COALESCE(r.expires_at <= clock_timestamp(), FALSE), TRUE
      FROM task_runs r
     WHERE r.queue_name = l.queue_name AND r.status = 'READY' AND r.gate = 0
     ORDER BY r.claim_key, r.result_id LIMIT $6) AS head
 WHERE EXISTS (SELECT 1 FROM reproq_limited_queues q WHERE q.queue_name IN ('', l.queue_name))
   AND head.task_path NOT IN (SELECT task_path FROM reproq_diverted_tasks)
