-- Opens the gate of runs that have become due.
UPDATE task_runs SET gate = CASE WHEN visit_key IS NULL THEN 0 ELSE 2 END
 WHERE result_id IN (
    SELECT result_id FROM task_runs WHERE status = 'READY' AND gate = 1 AND run_after <= strftime('%Y-%m-%d %H:%M:%f', 'now')
     ORDER BY run_after LIMIT 1000)
