-- The pauses in force, of ?1 queue and ?2 task, or all.
SELECT FALSE AS is_task, queue_name AS name, CAST(round(unixepoch(paused_at, 'subsec') * 1000) AS INTEGER) * 1000 AS paused_us, reason, CAST(round(unixepoch(resume_at, 'subsec') * 1000) AS INTEGER) * 1000 AS resume_us
  FROM reproq_paused_queues WHERE ?1 IS NULL OR queue_name = ?1
UNION ALL
SELECT TRUE, task_path, CAST(round(unixepoch(paused_at, 'subsec') * 1000) AS INTEGER) * 1000, reason, CAST(round(unixepoch(resume_at, 'subsec') * 1000) AS INTEGER) * 1000
  FROM reproq_paused_tasks WHERE ?2 IS NULL OR task_path = ?2
 ORDER BY 1, 2
