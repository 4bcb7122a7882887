-- What Reproq adds to the columns of the earlier system, and the repair of the two shapes that it left behind:
-- one made by SQL (column defaults), one made by Django (none, other types, a foreign key without an action).

ALTER TABLE task_runs
    ADD COLUMN IF NOT EXISTS claim_key BIGINT,
    ADD COLUMN IF NOT EXISTS gate SMALLINT,
    ADD COLUMN IF NOT EXISTS epoch INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS incarnation UUID,
    ADD COLUMN IF NOT EXISTS slot_no INTEGER,
    ADD COLUMN IF NOT EXISTS dedup SMALLINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS crash_count INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS headers JSONB NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS fairness_key TEXT,
    ADD COLUMN IF NOT EXISTS rate_key TEXT,
    ADD COLUMN IF NOT EXISTS rate_per_second DOUBLE PRECISION,
    ADD COLUMN IF NOT EXISTS rate_burst INTEGER,
    ADD COLUMN IF NOT EXISTS over_limit SMALLINT NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS visit_key TEXT COLLATE "C",
    -- An entry for each attempt that has ended. In the row and not in a table of its own: an update writes the row anew anyway,
    -- another table would be a second write for each ending.
    ADD COLUMN IF NOT EXISTS attempts_json JSONB NOT NULL DEFAULT '[]',
    -- What the running attempt has said last about how far it is.
    ADD COLUMN IF NOT EXISTS progress_json JSONB,
    -- The step of its workflow that the run counts for, and the one that it waits for; NULL: none.
    ADD COLUMN IF NOT EXISTS step INTEGER,
    ADD COLUMN IF NOT EXISTS after_step INTEGER;

-- policy: what a failed member does: 'fail' (those that wait for it fail, too) or 'continue'. final_step: with it the workflow ends.
-- failure_result_id: a run of its own that starts when the workflow has failed; in no count.
ALTER TABLE workflow_runs
    ADD COLUMN IF NOT EXISTS policy TEXT NOT NULL DEFAULT 'fail',
    ADD COLUMN IF NOT EXISTS final_step INTEGER,
    ADD COLUMN IF NOT EXISTS failure_result_id BIGINT,
    ADD COLUMN IF NOT EXISTS finished_at TIMESTAMPTZ;

-- every_seconds: instead of cron_expr. catch_up: none, latest, all (at most catch_up_limit). overlap: allow, skip, queue_one,
-- cancel_previous. options_json: what the task's own options were when the schedule was saved. source: 'code' for one that is declared
-- there. problem: why it cannot fire. rebase: next_run_at no longer fits what the schedule says and has to be computed anew, from now.
ALTER TABLE periodic_tasks
    ADD COLUMN IF NOT EXISTS timezone TEXT NOT NULL DEFAULT 'UTC',
    ADD COLUMN IF NOT EXISTS every_seconds INTEGER,
    ADD COLUMN IF NOT EXISTS jitter_seconds INTEGER NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS catch_up TEXT NOT NULL DEFAULT 'latest',
    ADD COLUMN IF NOT EXISTS catch_up_limit INTEGER NOT NULL DEFAULT 100,
    ADD COLUMN IF NOT EXISTS overlap TEXT NOT NULL DEFAULT 'allow',
    ADD COLUMN IF NOT EXISTS start_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS end_at TIMESTAMPTZ,
    ADD COLUMN IF NOT EXISTS options_json JSONB,
    ADD COLUMN IF NOT EXISTS source TEXT,
    ADD COLUMN IF NOT EXISTS problem TEXT,
    ADD COLUMN IF NOT EXISTS rebase BOOLEAN NOT NULL DEFAULT FALSE;

ALTER TABLE reproq_queue_controls ADD COLUMN IF NOT EXISTS resume_at TIMESTAMPTZ;

-- tat: when the last start admitted would have come at an even pace, microseconds since 1970; NULL: long ago.
-- stated: the code of a task said so, not an operator.
ALTER TABLE rate_limits
    ADD COLUMN IF NOT EXISTS tat BIGINT,
    ADD COLUMN IF NOT EXISTS stated BOOLEAN NOT NULL DEFAULT FALSE;

ALTER TABLE reproq_workers
    ADD COLUMN IF NOT EXISTS incarnation UUID,
    ADD COLUMN IF NOT EXISTS pid INTEGER,
    ADD COLUMN IF NOT EXISTS wants_wake BOOLEAN NOT NULL DEFAULT FALSE;

-- Changing a type rewrites the table, so only a column that still has the old type is touched.
DO $reproq$
DECLARE
    wanted CONSTANT TEXT[][] := ARRAY[
        ['spec_json', 'json'], ['return_json', 'json'], ['spec_hash', 'character varying'],
        ['result_id', 'bigint'], ['parent_id', 'bigint'], ['workflow_id', 'uuid']];
    old_type TEXT;
    changes TEXT[] := '{}';
    i INTEGER;
BEGIN
    FOR i IN 1 .. array_length(wanted, 1) LOOP
        SELECT data_type INTO old_type FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = 'task_runs' AND column_name = wanted[i][1];
        IF old_type IS DISTINCT FROM wanted[i][2] THEN
            changes := changes || format(
                'ALTER COLUMN %1$I DROP DEFAULT, ALTER COLUMN %1$I TYPE %2$s USING %1$I::text::%2$s',
                wanted[i][1], CASE wanted[i][2] WHEN 'character varying' THEN 'varchar(64)' ELSE wanted[i][2] END);
        END IF;
    END LOOP;
    IF cardinality(changes) > 0 THEN
        -- Indexes and the trigger of the earlier system name these columns; ours are made after this file.
        DROP TRIGGER IF EXISTS trg_task_runs_task_path ON task_runs;
        EXECUTE 'ALTER TABLE task_runs ' || array_to_string(changes, ', ');
    END IF;
END
$reproq$;

-- A raw INSERT may leave out whatever has a sensible value; Django's own tables had no defaults at all.
DO $reproq$
DECLARE
    wanted CONSTANT TEXT[][] := ARRAY[
        ['task_runs', 'backend_alias', '''default'''], ['task_runs', 'queue_name', '''default'''],
        ['task_runs', 'priority', '0'], ['task_runs', 'status', '''READY'''],
        ['task_runs', 'enqueued_at', 'now()'], ['task_runs', 'attempts', '0'],
        ['task_runs', 'max_attempts', '3'], ['task_runs', 'timeout_seconds', '900'],
        ['task_runs', 'concurrency_limit', '0'], ['task_runs', 'worker_ids', '''[]'''],
        ['task_runs', 'errors_json', '''[]'''], ['task_runs', 'metadata_json', '''{}'''],
        ['task_runs', 'wait_count', '0'], ['task_runs', 'created_at', 'now()'],
        ['task_runs', 'updated_at', 'now()'], ['task_runs', 'cancel_requested', 'FALSE'],
        -- Ours, for tables that Django made from the models (migrations switched off, as tests do).
        ['task_runs', 'epoch', '0'], ['task_runs', 'dedup', '0'], ['task_runs', 'crash_count', '0'],
        ['task_runs', 'headers', '''{}'''], ['task_runs', 'over_limit', '0'],
        ['task_runs', 'attempts_json', '''[]'''],
        ['reproq_attempt_logs', 'bytes', '0'], ['reproq_attempt_logs', 'dropped', '0'],
        ['reproq_attempt_logs', 'created_at', 'now()'], ['reproq_attempt_logs', 'updated_at', 'now()'],
        ['rate_limits', 'stated', 'FALSE'], ['reproq_task_controls', 'paused', 'FALSE'],
        ['reproq_task_controls', 'created_at', 'now()'], ['reproq_task_controls', 'updated_at', 'now()'],
        ['reproq_key_limits', 'burst', '1'], ['reproq_key_limits', 'pinned', 'FALSE'],
        ['reproq_key_limits', 'created_at', 'now()'], ['reproq_workers', 'wants_wake', 'FALSE'],
        ['workflow_runs', 'expected_count', '0'], ['workflow_runs', 'success_count', '0'],
        ['workflow_runs', 'failure_count', '0'],
        ['periodic_tasks', 'payload_json', '''{}'''], ['periodic_tasks', 'queue_name', '''default'''],
        ['periodic_tasks', 'priority', '0'], ['periodic_tasks', 'max_attempts', '3'],
        ['periodic_tasks', 'concurrency_limit', '0'], ['periodic_tasks', 'enabled', 'TRUE'],
        ['periodic_tasks', 'created_at', 'now()'], ['periodic_tasks', 'updated_at', 'now()'],
        ['periodic_tasks', 'timezone', '''UTC'''], ['periodic_tasks', 'jitter_seconds', '0'],
        ['periodic_tasks', 'catch_up', '''latest'''], ['periodic_tasks', 'catch_up_limit', '100'],
        ['periodic_tasks', 'overlap', '''allow'''], ['periodic_tasks', 'rebase', 'FALSE'],
        ['periodic_runs', 'count', '1'], ['periodic_runs', 'created_at', 'now()'],
        ['workflow_runs', 'policy', '''fail'''], ['reproq_workflow_steps', 'failed', '0'],
        ['reproq_workers', 'queues', '''[]'''], ['reproq_workers', 'started_at', 'now()'],
        ['reproq_workers', 'last_seen_at', 'now()'],
        ['reproq_queue_controls', 'paused', 'FALSE'], ['reproq_queue_controls', 'created_at', 'now()'],
        ['reproq_queue_controls', 'updated_at', 'now()'],
        ['rate_limits', 'last_refilled_at', 'now()'],
        ['workflow_runs', 'status', '''RUNNING'''], ['workflow_runs', 'created_at', 'now()'],
        ['workflow_runs', 'updated_at', 'now()']];
    column_default_now TEXT;
    i INTEGER;
BEGIN
    FOR i IN 1 .. array_length(wanted, 1) LOOP
        SELECT column_default INTO column_default_now FROM information_schema.columns
         WHERE table_schema = current_schema() AND table_name = wanted[i][1] AND column_name = wanted[i][2];
        IF column_default_now IS NULL THEN
            EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT %s', wanted[i][1], wanted[i][2], wanted[i][3]);
        END IF;
    END LOOP;
END
$reproq$;

-- Columns that a row may lack: the earlier shapes disagree on NOT NULL.
DO $reproq$
DECLARE
    optional CONSTANT TEXT[] := ARRAY['run_after', 'started_at', 'last_attempted_at', 'finished_at', 'lock_key',
        'concurrency_key', 'return_json', 'last_error', 'failed_at', 'leased_until', 'leased_by', 'logs_uri',
        'artifacts_uri', 'expires_at', 'parent_id', 'workflow_id'];
    name TEXT;
BEGIN
    FOR name IN SELECT column_name FROM information_schema.columns
                 WHERE table_schema = current_schema() AND table_name = 'task_runs'
                   AND is_nullable = 'NO' AND column_name = ANY (optional) LOOP
        EXECUTE format('ALTER TABLE task_runs ALTER COLUMN %I DROP NOT NULL', name);
    END LOOP;
END
$reproq$;

-- A parent may be pruned before its children: one foreign key, and it lets go.
DO $reproq$
DECLARE
    name TEXT;
    good INTEGER;
BEGIN
    SELECT count(*) INTO good FROM pg_constraint
     WHERE conrelid = 'task_runs'::regclass AND contype = 'f' AND confdeltype = 'n'
       AND conname = 'reproq_task_runs_parent_fk';
    IF good = 0 THEN
        FOR name IN SELECT conname FROM pg_constraint
                     WHERE conrelid = 'task_runs'::regclass AND contype = 'f' AND confrelid = 'task_runs'::regclass LOOP
            EXECUTE format('ALTER TABLE task_runs DROP CONSTRAINT %I', name);
        END LOOP;
        ALTER TABLE task_runs ADD CONSTRAINT reproq_task_runs_parent_fk
            FOREIGN KEY (parent_id) REFERENCES task_runs (result_id) ON DELETE SET NULL;
    END IF;
END
$reproq$;
