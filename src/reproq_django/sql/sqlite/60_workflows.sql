-- Members of workflows: whoever ends one (a worker, a reclaim, a cancellation, an operator by hand), revives or deletes it, leaves an
-- event, in the same transaction. Counting the events and letting go of what waits is the workers', see ARCHITECTURE.md, "Workflows".
DROP TRIGGER IF EXISTS reproq_task_runs_workflow_event;
CREATE TRIGGER reproq_task_runs_workflow_event AFTER UPDATE OF status ON task_runs
    WHEN NEW.step IS NOT NULL AND NEW.workflow_id IS NOT NULL AND NEW.status <> OLD.status
        AND (NEW.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') OR OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED'))
BEGIN
    INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
    VALUES (NEW.workflow_id, NEW.step, NEW.result_id,
            (NEW.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')) - (OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')),
            (NEW.status IN ('FAILED', 'CANCELLED')) - (OLD.status IN ('FAILED', 'CANCELLED')));
END;
DROP TRIGGER IF EXISTS reproq_task_runs_workflow_loss;
CREATE TRIGGER reproq_task_runs_workflow_loss AFTER DELETE ON task_runs
    WHEN OLD.step IS NOT NULL AND OLD.workflow_id IS NOT NULL AND OLD.status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')
BEGIN
    INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
    VALUES (OLD.workflow_id, OLD.step, OLD.result_id, 1, 1);
END;
