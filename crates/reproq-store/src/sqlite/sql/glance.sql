-- Whether runs have become due, when the next one will, whether runs wait that claim_visit.sql passes over, and whether there are
-- tasks to divert: a read, as claim_visit.sql is.
-- ?1 queues as a JSON array
SELECT EXISTS (SELECT 1 FROM task_runs WHERE status = 'READY' AND gate = 1 AND run_after <= strftime('%Y-%m-%d %H:%M:%f', 'now')) AS due,
       (SELECT CAST((julianday(MIN(run_after)) - julianday('now')) * 86400000000.0 AS INTEGER) FROM task_runs
         WHERE status = 'READY' AND gate = 1 AND run_after > strftime('%Y-%m-%d %H:%M:%f', 'now')) AS next_due_us,
       EXISTS (SELECT 1 FROM reproq_diverted_tasks) AS diverts,
       EXISTS (SELECT 1 FROM json_each(?1) q
                WHERE EXISTS (SELECT 1 FROM task_runs r WHERE r.queue_name = q.value AND r.status = 'READY' AND r.gate = 2)
                   OR (EXISTS (SELECT 1 FROM reproq_limited_queues l WHERE l.queue_name IN ('', q.value))
                       AND EXISTS (SELECT 1 FROM task_runs r WHERE r.queue_name = q.value AND r.status = 'READY' AND r.gate = 0))) AS keyed_waiting
