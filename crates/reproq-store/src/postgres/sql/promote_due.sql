-- Opens the gate of runs that have become due, and says when the next one will and whether runs wait that claim.sql passes over.
-- now() and not clock_timestamp(): only a stable function can bound an index scan.
-- $1 queues
WITH due AS MATERIALIZED (
    SELECT result_id FROM task_runs WHERE status = 'READY' AND gate = 1 AND run_after <= now()
     ORDER BY run_after LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED
), promoted AS (
    UPDATE task_runs r SET gate = CASE WHEN r.visit_key IS NULL THEN 0 ELSE 2 END
      FROM due WHERE r.result_id = due.result_id
    RETURNING r.queue_name, r.gate
)
SELECT (SELECT count(*) FROM promoted) AS promoted,
       (SELECT (extract(epoch FROM min(run_after) - clock_timestamp()) * 1000000)::bigint
          FROM task_runs WHERE status = 'READY' AND gate = 1 AND run_after > now()) AS next_due_us,
       EXISTS (SELECT 1 FROM reproq_diverted_tasks) AS diverts,
       EXISTS (SELECT 1 FROM unnest($1::text[]) AS q (queue_name)
                -- LIMIT: the planner would otherwise rather hash the whole backlog than look for one row.
                WHERE (SELECT TRUE FROM task_runs r WHERE r.queue_name = q.queue_name AND r.status = 'READY' AND r.gate = 2 LIMIT 1)
                   OR EXISTS (SELECT 1 FROM reproq_limited_queues l WHERE l.queue_name IN ('', q.queue_name))
                  AND (SELECT TRUE FROM task_runs r WHERE r.queue_name = q.queue_name AND r.status = 'READY' AND r.gate = 0 LIMIT 1))
    OR EXISTS (SELECT 1 FROM promoted WHERE gate = 2 AND queue_name = ANY ($1)) AS keyed_waiting
