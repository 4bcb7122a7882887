-- The logs of a run go with it, whoever deletes it: prune, the admin, an operator's DELETE.
CREATE OR REPLACE FUNCTION reproq_drop_logs() RETURNS TRIGGER
LANGUAGE plpgsql AS $reproq$
BEGIN
    DELETE FROM reproq_attempt_logs l USING deleted d WHERE l.result_id = d.result_id;
    RETURN NULL;
END
$reproq$;

CREATE OR REPLACE TRIGGER reproq_task_runs_drop_logs AFTER DELETE ON task_runs
    REFERENCING OLD TABLE AS deleted FOR EACH STATEMENT EXECUTE FUNCTION reproq_drop_logs();
