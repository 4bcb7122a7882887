-- ?1 id
SELECT w.workflow_id, w.status, w.policy, w.expected_count, w.success_count, w.failure_count, w.final_step, w.callback_result_id,
       w.failure_result_id, (SELECT count(*) FROM (
            SELECT 1 FROM reproq_workflow_events e WHERE e.workflow_id = w.workflow_id LIMIT 1000)) AS uncounted,
       CAST(round(unixepoch(w.created_at, 'subsec') * 1000) AS INTEGER) * 1000 AS created_us,
       CAST(round(unixepoch(w.finished_at, 'subsec') * 1000) AS INTEGER) * 1000 AS finished_us,
       CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000 AS now_us
  FROM workflow_runs w WHERE w.workflow_id = ?1
