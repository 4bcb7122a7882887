-- The indexes of task_runs, each partial and each for one statement. schema.py drops those of the earlier system first;
-- an index that a site made itself is left alone.

-- The claim: priority, aging and arrival order without a sort.
CREATE INDEX IF NOT EXISTS reproq_task_runs_ready ON task_runs (queue_name, claim_key, result_id)
    WHERE status = 'READY' AND gate = 0;
-- Runs that wait for their time.
CREATE INDEX IF NOT EXISTS reproq_task_runs_due ON task_runs (run_after) WHERE status = 'READY' AND gate = 1;
-- Keyed runs, visited key by key.
DROP INDEX IF EXISTS reproq_task_runs_keyed;
CREATE INDEX IF NOT EXISTS reproq_task_runs_visit ON task_runs (queue_name, visit_key, claim_key, result_id)
    WHERE status = 'READY' AND gate = 2;
-- A worker's own runs.
CREATE INDEX IF NOT EXISTS reproq_task_runs_running ON task_runs (incarnation) WHERE status = 'RUNNING';
-- Exact by construction: while it runs, a run holds its lock and its slot; whoever ends it lets go of both.
CREATE UNIQUE INDEX IF NOT EXISTS reproq_task_runs_lock ON task_runs (lock_key)
    WHERE status = 'RUNNING' AND lock_key <> '' AND slot_no IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS reproq_task_runs_slot ON task_runs (concurrency_key, slot_no)
    WHERE status = 'RUNNING' AND concurrency_key <> '' AND slot_no IS NOT NULL;
-- Dedupe: 1 counts runs that have not started yet (-1: it has), 2 all that have not ended.
CREATE UNIQUE INDEX IF NOT EXISTS reproq_task_runs_dedup_ready ON task_runs (spec_hash)
    WHERE dedup = 1 AND status IN ('READY', 'WAITING');
CREATE UNIQUE INDEX IF NOT EXISTS reproq_task_runs_dedup_active ON task_runs (spec_hash)
    WHERE dedup = 2 AND status IN ('READY', 'RUNNING', 'WAITING');
-- The latest word on a key, and the few tasks and queues whose every start is counted.
CREATE INDEX IF NOT EXISTS reproq_key_limits_key ON reproq_key_limits (key, pinned, limit_id);
CREATE INDEX IF NOT EXISTS reproq_task_runs_parent ON task_runs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS reproq_task_runs_workflow ON task_runs (workflow_id) WHERE workflow_id IS NOT NULL;
-- What a step of a workflow lets go when it is over.
CREATE INDEX IF NOT EXISTS reproq_task_runs_waiting ON task_runs (workflow_id, after_step) WHERE status = 'WAITING';
-- The few that are looked at from time to time whether all is right with them.
CREATE INDEX IF NOT EXISTS reproq_workflow_runs_running ON workflow_runs (workflow_id) WHERE status = 'RUNNING';
CREATE INDEX IF NOT EXISTS reproq_workflow_events_workflow ON reproq_workflow_events (workflow_id, event_id);
CREATE INDEX IF NOT EXISTS reproq_periodic_tasks_due ON periodic_tasks (next_run_at) WHERE enabled;
CREATE INDEX IF NOT EXISTS reproq_task_runs_failed ON task_runs (failed_at) WHERE status = 'FAILED';
