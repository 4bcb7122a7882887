-- The pauses in force, of $1 queue and $2 task, or all.
SELECT FALSE AS is_task, queue_name AS name, (extract(epoch FROM paused_at) * 1000000)::bigint AS paused_us, reason, (extract(epoch FROM resume_at) * 1000000)::bigint AS resume_us
  FROM reproq_paused_queues WHERE $1::text IS NULL OR queue_name = $1
UNION ALL
SELECT TRUE, task_path, (extract(epoch FROM paused_at) * 1000000)::bigint, reason, (extract(epoch FROM resume_at) * 1000000)::bigint
  FROM reproq_paused_tasks WHERE $2::text IS NULL OR task_path = $2
 ORDER BY 1, 2
