-- Schedules that somebody edits: a next_run_at that was computed for what the schedule said before is computed anew, from now, unless
-- the edit brings one of its own. Schedulers are told of whatever may have to fire earlier than they think.
CREATE OR REPLACE FUNCTION reproq_rebase_schedule() RETURNS TRIGGER
LANGUAGE plpgsql AS $reproq$
BEGIN
    NEW.rebase := TRUE;
    RETURN NEW;
END
$reproq$;

CREATE OR REPLACE TRIGGER reproq_periodic_tasks_rebase BEFORE UPDATE ON periodic_tasks
    FOR EACH ROW
    WHEN (NEW.next_run_at = OLD.next_run_at
          AND ((NEW.cron_expr, NEW.timezone, NEW.every_seconds, NEW.start_at, NEW.end_at)
               IS DISTINCT FROM (OLD.cron_expr, OLD.timezone, OLD.every_seconds, OLD.start_at, OLD.end_at)
               OR (NEW.enabled AND NOT OLD.enabled)))
    EXECUTE FUNCTION reproq_rebase_schedule();

CREATE OR REPLACE FUNCTION reproq_tell_schedulers() RETURNS TRIGGER
LANGUAGE plpgsql AS $reproq$
BEGIN
    PERFORM pg_notify('reproq_schedule', '');
    RETURN NULL;
END
$reproq$;

CREATE OR REPLACE TRIGGER reproq_periodic_tasks_new AFTER INSERT ON periodic_tasks
    FOR EACH ROW WHEN (NEW.enabled) EXECUTE FUNCTION reproq_tell_schedulers();
CREATE OR REPLACE TRIGGER reproq_periodic_tasks_earlier AFTER UPDATE ON periodic_tasks
    FOR EACH ROW
    WHEN (NEW.enabled AND (NEW.next_run_at < OLD.next_run_at OR NEW.rebase OR NOT OLD.enabled))
    EXECUTE FUNCTION reproq_tell_schedulers();
