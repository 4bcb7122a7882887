-- The indexes of task_runs, each partial and each for one statement. The earlier system's (up to fourteen, most of them
-- over every row) cost each transition more than they gave; an index that a site made itself is left alone.

DO $reproq$
DECLARE
    name TEXT;
    had_dedupe BOOLEAN := FALSE;
BEGIN
    FOR name IN
        SELECT i.relname FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
         WHERE x.indrelid = 'task_runs'::regclass AND NOT x.indisprimary AND i.relname NOT LIKE 'reproq\_%'
           AND (i.relname LIKE 'idx\_task\_runs\_%' OR i.relname ~ '^task_runs_.*_[0-9a-f]{6,8}(_idx|_like|_uniq|_fk)?$'
                OR (x.indisunique AND x.indnkeyatts = 1 AND pg_get_indexdef(x.indexrelid, 1, TRUE) = 'spec_hash'))
    LOOP
        had_dedupe := had_dedupe OR EXISTS (
            SELECT 1 FROM pg_index x WHERE x.indexrelid = name::regclass AND x.indisunique);
        EXECUTE format('ALTER TABLE task_runs DROP CONSTRAINT IF EXISTS %I', name);
        EXECUTE format('DROP INDEX IF EXISTS %I', name);
    END LOOP;
    IF had_dedupe THEN
        -- Unique until now, so they can go on standing for their twins.
        UPDATE task_runs SET dedup = 1 WHERE status = 'READY' AND dedup = 0;
    END IF;
END
$reproq$;

-- The claim: priority, aging and arrival order without a sort.
CREATE INDEX IF NOT EXISTS reproq_task_runs_ready ON task_runs (queue_name, claim_key, result_id)
    WHERE status = 'READY' AND gate = 0;
-- Runs that wait for their time.
CREATE INDEX IF NOT EXISTS reproq_task_runs_due ON task_runs (run_after) WHERE status = 'READY' AND gate = 1;
-- Keyed runs, visited key by key.
DROP INDEX IF EXISTS reproq_task_runs_keyed;
CREATE INDEX IF NOT EXISTS reproq_task_runs_visit ON task_runs (queue_name, visit_key, claim_key, result_id)
    WHERE status = 'READY' AND gate = 2;
-- A worker's own runs. leased_until is in no index, so that a heartbeat is a heap-only update.
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
CREATE INDEX IF NOT EXISTS reproq_rate_limits_task ON rate_limits (key) WHERE key LIKE 'task:%' AND tokens_per_second > 0 AND burst_size > 0;
CREATE INDEX IF NOT EXISTS reproq_rate_limits_queue ON rate_limits (key)
    WHERE (key = 'global' OR key LIKE 'queue:%') AND tokens_per_second > 0 AND burst_size > 0;
CREATE INDEX IF NOT EXISTS reproq_task_runs_parent ON task_runs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS reproq_task_runs_workflow ON task_runs (workflow_id) WHERE workflow_id IS NOT NULL;
-- What a step of a workflow lets go when it is over.
CREATE INDEX IF NOT EXISTS reproq_task_runs_waiting ON task_runs (workflow_id, after_step) WHERE status = 'WAITING';
-- The few that are looked at from time to time whether all is right with them.
CREATE INDEX IF NOT EXISTS reproq_workflow_runs_running ON workflow_runs (workflow_id) WHERE status = 'RUNNING';
CREATE INDEX IF NOT EXISTS reproq_workflow_events_workflow ON reproq_workflow_events (workflow_id, event_id);
CREATE INDEX IF NOT EXISTS reproq_periodic_tasks_due ON periodic_tasks (next_run_at) WHERE enabled;
CREATE INDEX IF NOT EXISTS reproq_task_runs_failed ON task_runs (failed_at) WHERE status = 'FAILED';

-- Each run is updated twice or more and then rests: leave room on its page, and vacuum before the dead rows slow the claim.
ALTER TABLE task_runs SET (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_insert_scale_factor = 0.1, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);
-- These are emptied as fast as they fill, or change all the time.
ALTER TABLE reproq_workflow_events SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000);
ALTER TABLE reproq_workflow_steps SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE workflow_runs SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
ALTER TABLE periodic_tasks SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
