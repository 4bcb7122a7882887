SELECT count(*) AS runs FROM task_runs WHERE status = 'RUNNING' AND leased_until IS NULL
