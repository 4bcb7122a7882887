-- The logs of a run go with it, whoever deletes it: prune, the admin, an operator's DELETE.
DROP TRIGGER IF EXISTS reproq_task_runs_drop_logs;
CREATE TRIGGER reproq_task_runs_drop_logs AFTER DELETE ON task_runs
BEGIN
    DELETE FROM reproq_attempt_logs WHERE result_id = OLD.result_id;
END;
