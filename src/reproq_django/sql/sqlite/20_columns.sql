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
ALTER TABLE reproq_workers ADD COLUMN incarnation CHAR(32);
ALTER TABLE reproq_workers ADD COLUMN pid INTEGER;
ALTER TABLE reproq_workers ADD COLUMN wants_wake BOOL NOT NULL DEFAULT FALSE;
