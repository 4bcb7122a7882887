-- What stands around a run: whom it waits for, and who stands before it in its line (of its lane; of its group, if keyed).
-- $1 id
SELECT (SELECT p.status FROM task_runs p WHERE p.result_id = r.parent_id) AS parent_status,
       CASE r.gate WHEN 0 THEN (
            SELECT count(*) FROM (
                SELECT 1 FROM task_runs a WHERE a.queue_name = r.queue_name AND a.status = 'READY' AND a.gate = 0
                   AND (a.claim_key, a.result_id) < (r.claim_key, r.result_id) LIMIT 1000) AS before)
        WHEN 2 THEN (
            SELECT count(*) FROM (
                SELECT 1 FROM task_runs a WHERE a.queue_name = r.queue_name AND a.visit_key = r.visit_key AND a.status = 'READY'
                   AND a.gate = 2 AND (a.claim_key, a.result_id) < (r.claim_key, r.result_id) LIMIT 1000) AS before)
        ELSE 0 END AS ahead
  FROM task_runs r WHERE r.result_id = $1
