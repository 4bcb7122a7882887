-- The tables as schema version 3 of Reproq itself makes them: its SQL, file by file.


CREATE TABLE IF NOT EXISTS task_runs (
    result_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    backend_alias TEXT NOT NULL DEFAULT 'default',
    queue_name TEXT NOT NULL DEFAULT 'default',
    priority INTEGER NOT NULL DEFAULT 0,
    run_after DATETIME,
    spec_json TEXT NOT NULL CHECK (json_valid(spec_json)),
    spec_hash VARCHAR(64) NOT NULL,
    task_path TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'READY',
    enqueued_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    started_at DATETIME,
    last_attempted_at DATETIME,
    finished_at DATETIME,
    attempts INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL DEFAULT 3,
    timeout_seconds INTEGER NOT NULL DEFAULT 900,
    lock_key TEXT,
    concurrency_key TEXT,
    concurrency_limit INTEGER NOT NULL DEFAULT 0,
    worker_ids TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(worker_ids)),
    return_json TEXT,
    errors_json TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(errors_json)),
    metadata_json TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(metadata_json)),
    last_error TEXT,
    failed_at DATETIME,
    leased_until DATETIME,
    leased_by TEXT,
    logs_uri TEXT,
    artifacts_uri TEXT,
    expires_at DATETIME,
    parent_id INTEGER REFERENCES task_runs (result_id) ON DELETE SET NULL,
    workflow_id CHAR(32),
    wait_count INTEGER NOT NULL DEFAULT 0,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    cancel_requested BOOL NOT NULL DEFAULT FALSE
);

CREATE TABLE IF NOT EXISTS periodic_tasks (
    name TEXT NOT NULL PRIMARY KEY,
    cron_expr TEXT NOT NULL,
    task_path TEXT NOT NULL,
    payload_json TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(payload_json)),
    queue_name TEXT NOT NULL DEFAULT 'default',
    priority INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL DEFAULT 3,
    concurrency_key TEXT,
    concurrency_limit INTEGER NOT NULL DEFAULT 0,
    last_run_at DATETIME,
    next_run_at DATETIME NOT NULL,
    enabled BOOL NOT NULL DEFAULT TRUE,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

CREATE TABLE IF NOT EXISTS reproq_workers (
    worker_id TEXT NOT NULL PRIMARY KEY,
    hostname TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    queues TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(queues)),
    started_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    last_seen_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    version TEXT
);

CREATE TABLE IF NOT EXISTS reproq_queue_controls (
    queue_name TEXT NOT NULL PRIMARY KEY,
    paused BOOL NOT NULL DEFAULT FALSE,
    paused_at DATETIME,
    reason TEXT,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

CREATE TABLE IF NOT EXISTS rate_limits (
    key TEXT NOT NULL PRIMARY KEY,
    tokens_per_second REAL NOT NULL,
    burst_size INTEGER NOT NULL,
    current_tokens REAL NOT NULL,
    last_refilled_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

CREATE TABLE IF NOT EXISTS workflow_runs (
    workflow_id CHAR(32) NOT NULL PRIMARY KEY,
    expected_count INTEGER NOT NULL DEFAULT 0,
    success_count INTEGER NOT NULL DEFAULT 0,
    failure_count INTEGER NOT NULL DEFAULT 0,
    callback_result_id INTEGER,
    status TEXT NOT NULL DEFAULT 'RUNNING',
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

CREATE TABLE IF NOT EXISTS reproq_task_controls (
    task_path TEXT NOT NULL PRIMARY KEY,
    paused BOOL NOT NULL DEFAULT FALSE,
    paused_at DATETIME,
    reason TEXT,
    resume_at DATETIME,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

CREATE TABLE IF NOT EXISTS reproq_key_limits (
    limit_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    amount REAL NOT NULL,
    burst INTEGER NOT NULL DEFAULT 1,
    pinned BOOL NOT NULL DEFAULT FALSE,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

CREATE TABLE IF NOT EXISTS reproq_attempt_logs (
    result_id INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    chunks TEXT NOT NULL,
    bytes BIGINT NOT NULL DEFAULT 0,
    dropped BIGINT NOT NULL DEFAULT 0,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    PRIMARY KEY (result_id, epoch)
);

CREATE TABLE IF NOT EXISTS reproq_meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);


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
ALTER TABLE task_runs ADD COLUMN attempts_json TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(attempts_json));
ALTER TABLE task_runs ADD COLUMN progress_json TEXT;
ALTER TABLE reproq_queue_controls ADD COLUMN resume_at DATETIME;
ALTER TABLE rate_limits ADD COLUMN tat BIGINT;
ALTER TABLE rate_limits ADD COLUMN stated BOOL NOT NULL DEFAULT FALSE;
ALTER TABLE reproq_workers ADD COLUMN incarnation CHAR(32);
ALTER TABLE reproq_workers ADD COLUMN pid INTEGER;
ALTER TABLE reproq_workers ADD COLUMN wants_wake BOOL NOT NULL DEFAULT FALSE;


INSERT INTO reproq_meta (key, value) VALUES ('priority_aging_seconds', '60') ON CONFLICT (key) DO NOTHING;

DROP VIEW IF EXISTS reproq_diverted_tasks;
DROP VIEW IF EXISTS reproq_paused_tasks;
DROP VIEW IF EXISTS reproq_paused_queues;
DROP VIEW IF EXISTS reproq_limited_queues;
DROP VIEW IF EXISTS reproq_lanes;

CREATE VIEW reproq_lanes AS
    SELECT result_id,
           CASE WHEN lock_key <> '' OR concurrency_key <> '' OR fairness_key <> '' OR rate_key <> '' THEN 2 ELSE 0 END AS open_gate,
           COALESCE('F' || COALESCE(NULLIF(fairness_key, ''), NULLIF(concurrency_key, '')), 'L' || NULLIF(lock_key, ''),
                    'R' || NULLIF(rate_key, ''), 'T' || task_path)
               || char(31) || COALESCE(lock_key, '') || char(31) || COALESCE(concurrency_key, '')
               || char(31) || COALESCE(rate_key, '') || char(31) || task_path AS visit_key,
           CAST(priority * 1000000 * (SELECT CAST(value AS REAL) FROM reproq_meta WHERE key = 'priority_aging_seconds') AS INTEGER)
               AS head_start
      FROM task_runs;

DROP TRIGGER IF EXISTS reproq_task_runs_insert_lane;
CREATE TRIGGER reproq_task_runs_insert_lane AFTER INSERT ON task_runs
BEGIN
    UPDATE task_runs SET task_path = json_extract(NEW.spec_json, '$.task_path') WHERE result_id = NEW.result_id AND task_path = '';
    UPDATE task_runs SET
        claim_key = CAST((julianday(MAX(COALESCE(NEW.run_after, NEW.enqueued_at), NEW.enqueued_at)) - 2440587.5) * 86400000000.0 AS INTEGER)
            - lane.head_start,
        gate = CASE WHEN NEW.run_after > strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 1 ELSE lane.open_gate END,
        visit_key = CASE lane.open_gate WHEN 2 THEN lane.visit_key END
      FROM reproq_lanes AS lane WHERE lane.result_id = NEW.result_id AND task_runs.result_id = NEW.result_id;
END;

DROP TRIGGER IF EXISTS reproq_task_runs_update_lane;
CREATE TRIGGER reproq_task_runs_update_lane
    AFTER UPDATE OF status, run_after, priority, lock_key, concurrency_key, concurrency_limit, fairness_key, rate_key ON task_runs
    WHEN NEW.status = 'READY' AND (OLD.status IS NOT NEW.status OR OLD.run_after IS NOT NEW.run_after
        OR OLD.priority IS NOT NEW.priority OR OLD.lock_key IS NOT NEW.lock_key
        OR OLD.concurrency_key IS NOT NEW.concurrency_key OR OLD.concurrency_limit IS NOT NEW.concurrency_limit
        OR OLD.fairness_key IS NOT NEW.fairness_key OR OLD.rate_key IS NOT NEW.rate_key)
BEGIN
    UPDATE task_runs SET
        claim_key = CAST((julianday(MAX(COALESCE(NEW.run_after, ''), strftime('%Y-%m-%d %H:%M:%f', 'now'))) - 2440587.5) * 86400000000.0 AS INTEGER)
            - lane.head_start,
        gate = CASE WHEN NEW.run_after > strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 1 ELSE lane.open_gate END,
        visit_key = CASE lane.open_gate WHEN 2 THEN lane.visit_key END
      FROM reproq_lanes AS lane WHERE lane.result_id = NEW.result_id AND task_runs.result_id = NEW.result_id;
END;

DROP TRIGGER IF EXISTS reproq_task_runs_state_limit;
CREATE TRIGGER reproq_task_runs_state_limit AFTER INSERT ON task_runs
    WHEN NEW.concurrency_key <> '' AND NEW.concurrency_limit > 0
BEGIN
    INSERT INTO reproq_key_limits (key, amount, burst) SELECT 'concurrency:' || NEW.concurrency_key, NEW.concurrency_limit, 1
     WHERE NOT COALESCE((SELECT amount = NEW.concurrency_limit FROM reproq_key_limits
                          WHERE key = 'concurrency:' || NEW.concurrency_key AND NOT pinned ORDER BY limit_id DESC LIMIT 1), 0);
END;
DROP TRIGGER IF EXISTS reproq_task_runs_restate_limit;
CREATE TRIGGER reproq_task_runs_restate_limit AFTER UPDATE OF concurrency_key, concurrency_limit ON task_runs
    WHEN NEW.concurrency_key <> '' AND NEW.concurrency_limit > 0 AND NEW.status = 'READY'
        AND (OLD.concurrency_key IS NOT NEW.concurrency_key OR OLD.concurrency_limit IS NOT NEW.concurrency_limit)
BEGIN
    INSERT INTO reproq_key_limits (key, amount, burst) VALUES ('concurrency:' || NEW.concurrency_key, NEW.concurrency_limit, 1);
END;
DROP TRIGGER IF EXISTS reproq_task_runs_state_rate;
CREATE TRIGGER reproq_task_runs_state_rate AFTER INSERT ON task_runs
    WHEN NEW.rate_key <> '' AND NEW.rate_per_second > 0
BEGIN
    INSERT INTO reproq_key_limits (key, amount, burst) SELECT NEW.rate_key, NEW.rate_per_second, MAX(COALESCE(NEW.rate_burst, 1), 1)
     WHERE NOT COALESCE((SELECT amount = NEW.rate_per_second AND burst = MAX(COALESCE(NEW.rate_burst, 1), 1) FROM reproq_key_limits
                          WHERE key = NEW.rate_key AND NOT pinned ORDER BY limit_id DESC LIMIT 1), 0);
END;

DROP TRIGGER IF EXISTS reproq_rate_limits_insert;
CREATE TRIGGER reproq_rate_limits_insert AFTER INSERT ON rate_limits
    WHEN NEW.tat IS NULL AND NOT NEW.stated AND NEW.tokens_per_second > 0 AND NEW.current_tokens < NEW.burst_size
BEGIN
    UPDATE rate_limits SET tat = CAST((julianday(NEW.last_refilled_at) - 2440587.5) * 86400000000.0
        + (NEW.burst_size - NEW.current_tokens) / NEW.tokens_per_second * 1000000 AS INTEGER) WHERE key = NEW.key;
END;
DROP TRIGGER IF EXISTS reproq_rate_limits_update;
CREATE TRIGGER reproq_rate_limits_update AFTER UPDATE OF current_tokens, last_refilled_at ON rate_limits
    WHEN NEW.tat IS OLD.tat AND (OLD.current_tokens IS NOT NEW.current_tokens OR OLD.last_refilled_at IS NOT NEW.last_refilled_at)
BEGIN
    UPDATE rate_limits SET tat = CASE WHEN NEW.tokens_per_second > 0 AND NEW.current_tokens < NEW.burst_size
        THEN CAST((julianday(NEW.last_refilled_at) - 2440587.5) * 86400000000.0
            + (NEW.burst_size - NEW.current_tokens) / NEW.tokens_per_second * 1000000 AS INTEGER) END WHERE key = NEW.key;
END;

DROP TRIGGER IF EXISTS reproq_rate_limits_update_pace;
CREATE TRIGGER reproq_rate_limits_update_pace AFTER UPDATE OF tokens_per_second ON rate_limits
    WHEN NEW.tat = OLD.tat AND OLD.tokens_per_second <> NEW.tokens_per_second AND OLD.tokens_per_second > 0 AND NEW.tokens_per_second > 0
        AND OLD.current_tokens = NEW.current_tokens AND OLD.last_refilled_at = NEW.last_refilled_at
        AND OLD.tat > CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER)
BEGIN
    UPDATE rate_limits SET tat = CAST((julianday('now') - 2440587.5) * 86400000000.0 AS INTEGER) + 1
        + CAST((OLD.tat - (julianday('now') - 2440587.5) * 86400000000.0) * OLD.tokens_per_second / NEW.tokens_per_second AS INTEGER)
     WHERE key = NEW.key;
END;

CREATE VIEW reproq_paused_queues AS
    SELECT queue_name, paused_at, reason, resume_at FROM reproq_queue_controls
     WHERE paused AND (resume_at IS NULL OR resume_at > strftime('%Y-%m-%d %H:%M:%f', 'now'));
CREATE VIEW reproq_paused_tasks AS
    SELECT task_path, paused_at, reason, resume_at FROM reproq_task_controls
     WHERE paused AND (resume_at IS NULL OR resume_at > strftime('%Y-%m-%d %H:%M:%f', 'now'));
CREATE VIEW reproq_diverted_tasks AS
    SELECT task_path FROM reproq_paused_tasks
    UNION ALL
    SELECT substr(key, 6) FROM rate_limits WHERE key >= 'task:' AND key < 'task;' AND tokens_per_second > 0 AND burst_size > 0;
CREATE VIEW reproq_limited_queues AS
    SELECT CASE key WHEN 'global' THEN '' ELSE substr(key, 7) END AS queue_name FROM rate_limits
     WHERE (key = 'global' OR (key >= 'queue:' AND key < 'queue;')) AND tokens_per_second > 0 AND burst_size > 0;

UPDATE task_runs SET
    claim_key = CAST((julianday(MAX(COALESCE(run_after, enqueued_at), enqueued_at)) - 2440587.5) * 86400000000.0 AS INTEGER) - lane.head_start,
    gate = CASE WHEN run_after > strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 1 ELSE lane.open_gate END,
    visit_key = CASE lane.open_gate WHEN 2 THEN lane.visit_key END
  FROM reproq_lanes AS lane
 WHERE lane.result_id = task_runs.result_id AND status = 'READY'
   AND (claim_key IS NULL OR gate IS NULL OR (task_runs.visit_key IS NULL AND lane.open_gate = 2));
UPDATE task_runs SET leased_until = strftime('%Y-%m-%d %H:%M:%f', 'now', '+5 minutes')
 WHERE status = 'RUNNING' AND leased_until IS NULL;


CREATE INDEX IF NOT EXISTS reproq_task_runs_ready ON task_runs (queue_name, claim_key, result_id)
    WHERE status = 'READY' AND gate = 0;
CREATE INDEX IF NOT EXISTS reproq_task_runs_due ON task_runs (run_after) WHERE status = 'READY' AND gate = 1;
DROP INDEX IF EXISTS reproq_task_runs_keyed;
CREATE INDEX IF NOT EXISTS reproq_task_runs_visit ON task_runs (queue_name, visit_key, claim_key, result_id)
    WHERE status = 'READY' AND gate = 2;
CREATE INDEX IF NOT EXISTS reproq_task_runs_running ON task_runs (incarnation) WHERE status = 'RUNNING';
CREATE UNIQUE INDEX IF NOT EXISTS reproq_task_runs_lock ON task_runs (lock_key)
    WHERE status = 'RUNNING' AND lock_key <> '' AND slot_no IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS reproq_task_runs_slot ON task_runs (concurrency_key, slot_no)
    WHERE status = 'RUNNING' AND concurrency_key <> '' AND slot_no IS NOT NULL;
CREATE UNIQUE INDEX IF NOT EXISTS reproq_task_runs_dedup_ready ON task_runs (spec_hash)
    WHERE dedup = 1 AND status IN ('READY', 'WAITING');
CREATE UNIQUE INDEX IF NOT EXISTS reproq_task_runs_dedup_active ON task_runs (spec_hash)
    WHERE dedup = 2 AND status IN ('READY', 'RUNNING', 'WAITING');
CREATE INDEX IF NOT EXISTS reproq_key_limits_key ON reproq_key_limits (key, pinned, limit_id);
CREATE INDEX IF NOT EXISTS reproq_task_runs_parent ON task_runs (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS reproq_task_runs_workflow ON task_runs (workflow_id) WHERE workflow_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS reproq_task_runs_failed ON task_runs (failed_at) WHERE status = 'FAILED';

DROP TRIGGER IF EXISTS reproq_task_runs_drop_logs;
CREATE TRIGGER reproq_task_runs_drop_logs AFTER DELETE ON task_runs
BEGIN
    DELETE FROM reproq_attempt_logs WHERE result_id = OLD.result_id;
END;

INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens) VALUES ('global', 0, 1, 0) ON CONFLICT (key) DO NOTHING;
INSERT INTO reproq_meta (key, value) VALUES ('schema_version', '3')
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value WHERE reproq_meta.value <> EXCLUDED.value;
