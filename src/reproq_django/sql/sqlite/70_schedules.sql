-- Schedules that somebody edits: a next_run_at that was computed for what the schedule said before is computed anew, from now, unless
-- the edit brings one of its own.
DROP TRIGGER IF EXISTS reproq_periodic_tasks_rebase;
CREATE TRIGGER reproq_periodic_tasks_rebase AFTER UPDATE ON periodic_tasks
    WHEN NEW.next_run_at IS OLD.next_run_at AND NOT NEW.rebase
        AND (NEW.cron_expr IS NOT OLD.cron_expr OR NEW.timezone IS NOT OLD.timezone OR NEW.every_seconds IS NOT OLD.every_seconds
             OR NEW.start_at IS NOT OLD.start_at OR NEW.end_at IS NOT OLD.end_at OR (NEW.enabled AND NOT OLD.enabled))
BEGIN
    UPDATE periodic_tasks SET rebase = TRUE WHERE name = NEW.name;
END;
