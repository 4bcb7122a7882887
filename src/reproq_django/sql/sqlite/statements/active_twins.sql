-- The state of each run, and the active run that stands for another of its kind, if there is one. ids: a JSON array.
SELECT r.result_id, r.status, CASE
        WHEN r.dedup = 2 THEN (
            SELECT t.result_id FROM task_runs t
             WHERE t.spec_hash = r.spec_hash AND t.dedup = 2 AND t.status IN ('READY', 'RUNNING', 'WAITING'))
        WHEN r.dedup IN (1, -1) THEN (
            SELECT t.result_id FROM task_runs t WHERE t.spec_hash = r.spec_hash AND t.dedup = 1 AND t.status IN ('READY', 'WAITING'))
       END AS twin
  FROM task_runs r WHERE r.result_id IN (SELECT value FROM json_each(%(ids)s))
