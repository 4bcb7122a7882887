SELECT COALESCE(leased_by, '') AS worker_id, count(*) AS runs FROM task_runs WHERE status = 'RUNNING' GROUP BY 1
