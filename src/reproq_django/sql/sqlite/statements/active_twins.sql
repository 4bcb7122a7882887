-- The state of each run, and the active run that stands for another of its kind, if there is one. spoilt_by: the run for whose
-- sake it was ended, as a member of a workflow; 0: nobody knows which. ids: a JSON array.
SELECT r.result_id, r.status, CASE
        WHEN r.dedup = 2 THEN (
            SELECT t.result_id FROM task_runs t
             WHERE t.spec_hash = r.spec_hash AND t.dedup = 2 AND t.status IN ('READY', 'RUNNING', 'WAITING'))
        WHEN r.dedup IN (1, -1) THEN (
            SELECT t.result_id FROM task_runs t WHERE t.spec_hash = r.spec_hash AND t.dedup = 1 AND t.status IN ('READY', 'WAITING'))
       END AS twin,
       CASE WHEN r.status = 'FAILED' AND r.after_step IS NOT NULL AND json_extract(r.errors_json, '$[#-1].kind') = 'workflow_failed' THEN COALESCE(
            (SELECT s.culprit FROM reproq_workflow_steps s WHERE s.workflow_id = r.workflow_id AND s.step = r.after_step),
            json_extract(r.errors_json, '$[#-1].failed_result_id'), 0) END AS spoilt_by
  FROM task_runs r WHERE r.result_id IN (SELECT value FROM json_each(%(ids)s))
