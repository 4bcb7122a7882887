-- Members of workflows: whoever ends one (a worker, a reclaim, a cancellation, an operator by hand), revives or deletes it, leaves an
-- event, in the same transaction. Counting the events and letting go of what waits is the workers', see ARCHITECTURE.md, "Workflows".
CREATE OR REPLACE FUNCTION reproq_note_workflow_event() RETURNS TRIGGER
LANGUAGE plpgsql AS $reproq$
DECLARE
    was_over BOOLEAN := OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED');
    was_bad BOOLEAN := OLD.status IN ('FAILED', 'CANCELLED');
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
        VALUES (OLD.workflow_id, OLD.step, OLD.result_id, 1, 1);
    ELSE
        INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
        VALUES (NEW.workflow_id, NEW.step, NEW.result_id,
                (NEW.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED'))::int - was_over::int,
                (NEW.status IN ('FAILED', 'CANCELLED'))::int - was_bad::int);
    END IF;
    RETURN NULL;
END
$reproq$;

CREATE OR REPLACE TRIGGER reproq_task_runs_workflow_event AFTER UPDATE OF status ON task_runs
    FOR EACH ROW WHEN (NEW.step IS NOT NULL AND NEW.workflow_id IS NOT NULL AND NEW.status <> OLD.status
        AND (NEW.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') OR OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')))
    EXECUTE FUNCTION reproq_note_workflow_event();
CREATE OR REPLACE TRIGGER reproq_task_runs_workflow_loss AFTER DELETE ON task_runs
    FOR EACH ROW WHEN (OLD.step IS NOT NULL AND OLD.workflow_id IS NOT NULL
        AND OLD.status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED'))
    EXECUTE FUNCTION reproq_note_workflow_event();
