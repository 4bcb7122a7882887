-- Members of a workflow that have ended badly by themselves, and not for the sake of another.
-- ?1 id, ?2 limit, ?3 after this run
SELECT r.result_id FROM task_runs r
 WHERE r.workflow_id = ?1 AND r.result_id > ?3 AND r.step IS NOT NULL AND r.status IN ('FAILED', 'CANCELLED')
   AND NOT (r.after_step IS NOT NULL AND COALESCE(json_extract(r.errors_json, '$[#-1].kind'), '') = 'workflow_failed')
 ORDER BY r.result_id LIMIT ?2
