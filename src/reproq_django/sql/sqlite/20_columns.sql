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
ALTER TABLE reproq_queue_controls ADD COLUMN resume_at DATETIME;
-- tat: when the last start admitted would have come at an even pace, microseconds since 1970; NULL: long ago.
-- stated: the code of a task said so, not an operator.
ALTER TABLE rate_limits ADD COLUMN tat BIGINT;
ALTER TABLE rate_limits ADD COLUMN stated BOOL NOT NULL DEFAULT FALSE;
ALTER TABLE reproq_workers ADD COLUMN incarnation CHAR(32);
ALTER TABLE reproq_workers ADD COLUMN pid INTEGER;
ALTER TABLE reproq_workers ADD COLUMN wants_wake BOOL NOT NULL DEFAULT FALSE;
