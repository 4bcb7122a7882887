-- What Reproq adds to the columns of the earlier system. SQLite has no ADD COLUMN IF NOT EXISTS: schema.py leaves out
-- each statement of this file whose column is there already.

ALTER TABLE task_runs ADD COLUMN claim_key BIGINT;
ALTER TABLE task_runs ADD COLUMN gate SMALLINT;
ALTER TABLE task_runs ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_runs ADD COLUMN incarnation CHAR(32);
ALTER TABLE task_runs ADD COLUMN slot_no INTEGER;
ALTER TABLE task_runs ADD COLUMN dedup SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE task_runs ADD COLUMN crash_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task_runs ADD COLUMN headers TEXT NOT NULL DEFAULT '{}';
ALTER TABLE task_runs ADD COLUMN fairness_key TEXT;
ALTER TABLE task_runs ADD COLUMN rate_key TEXT;
ALTER TABLE task_runs ADD COLUMN rate_per_second REAL;
ALTER TABLE task_runs ADD COLUMN rate_burst INTEGER;
ALTER TABLE task_runs ADD COLUMN over_limit SMALLINT NOT NULL DEFAULT 0;
ALTER TABLE task_runs ADD COLUMN visit_key TEXT;
-- attempts_json: an entry for each attempt that has ended; progress_json: what the running one has said last about how far it is.
ALTER TABLE task_runs ADD COLUMN attempts_json TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(attempts_json));
ALTER TABLE task_runs ADD COLUMN progress_json TEXT;
-- The step of its workflow that the run counts for, and the one that it waits for; NULL: none.
ALTER TABLE task_runs ADD COLUMN step INTEGER;
ALTER TABLE task_runs ADD COLUMN after_step INTEGER;
-- The meaning of these: the PostgreSQL twin of this file.
ALTER TABLE workflow_runs ADD COLUMN policy TEXT NOT NULL DEFAULT 'fail';
ALTER TABLE workflow_runs ADD COLUMN final_step INTEGER;
ALTER TABLE workflow_runs ADD COLUMN failure_result_id INTEGER;
ALTER TABLE workflow_runs ADD COLUMN finished_at DATETIME;
ALTER TABLE periodic_tasks ADD COLUMN timezone TEXT NOT NULL DEFAULT 'UTC';
ALTER TABLE periodic_tasks ADD COLUMN every_seconds INTEGER;
ALTER TABLE periodic_tasks ADD COLUMN jitter_seconds INTEGER NOT NULL DEFAULT 0;
ALTER TABLE periodic_tasks ADD COLUMN catch_up TEXT NOT NULL DEFAULT 'latest';
ALTER TABLE periodic_tasks ADD COLUMN catch_up_limit INTEGER NOT NULL DEFAULT 100;
ALTER TABLE periodic_tasks ADD COLUMN overlap TEXT NOT NULL DEFAULT 'allow';
ALTER TABLE periodic_tasks ADD COLUMN start_at DATETIME;
ALTER TABLE periodic_tasks ADD COLUMN end_at DATETIME;
ALTER TABLE periodic_tasks ADD COLUMN options_json TEXT;
ALTER TABLE periodic_tasks ADD COLUMN source TEXT;
ALTER TABLE periodic_tasks ADD COLUMN problem TEXT;
ALTER TABLE periodic_tasks ADD COLUMN rebase BOOL NOT NULL DEFAULT FALSE;
ALTER TABLE reproq_queue_controls ADD COLUMN resume_at DATETIME;
-- tat: when the last start admitted would have come at an even pace, microseconds since 1970; NULL: long ago.
-- stated: the code of a task said so, not an operator.
ALTER TABLE rate_limits ADD COLUMN tat BIGINT;
ALTER TABLE rate_limits ADD COLUMN stated BOOL NOT NULL DEFAULT FALSE;
ALTER TABLE reproq_workers ADD COLUMN incarnation CHAR(32);
ALTER TABLE reproq_workers ADD COLUMN pid INTEGER;
ALTER TABLE reproq_workers ADD COLUMN wants_wake BOOL NOT NULL DEFAULT FALSE;
