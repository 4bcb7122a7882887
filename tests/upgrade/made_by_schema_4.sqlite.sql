-- The tables as schema version 4 of Reproq itself makes them: its SQL, file by file.

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

CREATE TABLE IF NOT EXISTS reproq_workflow_steps (
    workflow_id CHAR(32) NOT NULL,
    step INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    failed INTEGER NOT NULL DEFAULT 0,
    culprit INTEGER,
    PRIMARY KEY (workflow_id, step)
);

CREATE TABLE IF NOT EXISTS reproq_workflow_events (
    event_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    workflow_id CHAR(32) NOT NULL,
    step INTEGER NOT NULL,
    result_id INTEGER NOT NULL,
    ended SMALLINT NOT NULL,
    failed SMALLINT NOT NULL
);

CREATE TABLE IF NOT EXISTS periodic_runs (
    name TEXT NOT NULL,
    scheduled_at DATETIME NOT NULL,
    state TEXT NOT NULL,
    result_id INTEGER,
    count INTEGER NOT NULL DEFAULT 1,
    missed_until DATETIME,
    reason TEXT,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    PRIMARY KEY (name, scheduled_at)
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
ALTER TABLE task_runs ADD COLUMN step INTEGER;
ALTER TABLE task_runs ADD COLUMN after_step INTEGER;
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
CREATE INDEX IF NOT EXISTS reproq_task_runs_waiting ON task_runs (workflow_id, after_step) WHERE status = 'WAITING';
CREATE INDEX IF NOT EXISTS reproq_workflow_runs_running ON workflow_runs (workflow_id) WHERE status = 'RUNNING';
CREATE INDEX IF NOT EXISTS reproq_workflow_events_workflow ON reproq_workflow_events (workflow_id, event_id);
CREATE INDEX IF NOT EXISTS reproq_periodic_tasks_due ON periodic_tasks (next_run_at) WHERE enabled;
CREATE INDEX IF NOT EXISTS reproq_task_runs_failed ON task_runs (failed_at) WHERE status = 'FAILED';

DROP TRIGGER IF EXISTS reproq_task_runs_drop_logs;
CREATE TRIGGER reproq_task_runs_drop_logs AFTER DELETE ON task_runs
BEGIN
    DELETE FROM reproq_attempt_logs WHERE result_id = OLD.result_id;
END;

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

CREATE TEMPORARY TABLE reproq_left (workflow_id TEXT, result_id INTEGER PRIMARY KEY, status TEXT, step INTEGER, after_step INTEGER);

INSERT INTO workflow_runs (workflow_id, callback_result_id)
    SELECT workflow_id, min(result_id) FROM task_runs
     WHERE status = 'WAITING' AND step IS NULL AND after_step IS NULL AND parent_id IS NULL AND wait_count > 1 AND workflow_id IS NOT NULL
     GROUP BY workflow_id
ON CONFLICT DO NOTHING;

INSERT INTO reproq_left
WITH chord AS (
    SELECT w.workflow_id, w.callback_result_id FROM workflow_runs w
     WHERE w.final_step IS NULL AND (w.status IN ('RUNNING', 'WAITING_CALLBACK') OR EXISTS (
        SELECT 1 FROM task_runs c WHERE c.result_id = w.callback_result_id AND c.status = 'WAITING' AND c.step IS NULL))
)
SELECT h.workflow_id, r.result_id, r.status, 1, NULL
  FROM chord h JOIN task_runs r ON r.workflow_id = h.workflow_id
 WHERE r.step IS NULL AND r.result_id IS NOT h.callback_result_id
UNION ALL
SELECT h.workflow_id, r.result_id, r.status, 2, CASE r.status WHEN 'WAITING' THEN 1 END
  FROM chord h JOIN task_runs r ON r.result_id = h.callback_result_id WHERE r.step IS NULL
ON CONFLICT DO NOTHING;

INSERT INTO reproq_left
WITH RECURSIVE head AS (
    SELECT DISTINCT p.result_id, FALSE AS is_orphan
      FROM task_runs c JOIN task_runs p ON p.result_id = c.parent_id
     WHERE c.status = 'WAITING' AND c.step IS NULL AND c.after_step IS NULL AND p.step IS NULL AND p.status <> 'WAITING'
    UNION ALL
    SELECT r.result_id, TRUE FROM task_runs r
     WHERE r.status = 'WAITING' AND r.step IS NULL AND r.after_step IS NULL AND r.parent_id IS NULL AND r.wait_count > 0
), chained AS (
    SELECT h.result_id, h.result_id AS head, NULL AS after, h.is_orphan FROM head h
    UNION ALL
    SELECT r.result_id, c.head, c.result_id, FALSE
      FROM chained c JOIN task_runs r ON r.parent_id = c.result_id
     WHERE r.status = 'WAITING' AND r.step IS NULL AND r.after_step IS NULL
), placed AS (
    SELECT c.*, c.result_id IN (SELECT after FROM chained WHERE after IS NOT NULL) AS is_followed FROM chained c
), named AS (
    SELECT c.head, COALESCE(min(r.workflow_id), printf('%032x', c.head)) AS workflow_id
      FROM chained c JOIN task_runs r ON r.result_id = c.result_id GROUP BY c.head
), numbered AS (
    SELECT n.workflow_id, c.result_id, c.after, c.is_orphan, sum(is_followed) OVER up_to_here AS step,
           sum(is_followed) OVER (PARTITION BY n.workflow_id) + 1 AS final, c.is_followed
      FROM placed c JOIN named n ON n.head = c.head
     WHERE NOT EXISTS (SELECT 1 FROM workflow_runs w WHERE w.workflow_id = n.workflow_id)
    WINDOW up_to_here AS (PARTITION BY n.workflow_id ORDER BY c.result_id)
)
SELECT n.workflow_id, n.result_id, r.status, CASE WHEN n.is_followed THEN n.step ELSE n.final END,
       CASE WHEN n.is_orphan THEN 0 ELSE b.step END
  FROM numbered n JOIN task_runs r ON r.result_id = n.result_id LEFT JOIN numbered b ON b.result_id = n.after WHERE TRUE
ON CONFLICT DO NOTHING;

INSERT INTO workflow_runs (workflow_id) SELECT DISTINCT workflow_id FROM reproq_left WHERE TRUE ON CONFLICT DO NOTHING;
UPDATE workflow_runs SET
    status = 'RUNNING', updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), final_step = l.final_step,
    expected_count = l.expected_count, success_count = l.success_count, failure_count = l.failure_count
  FROM (SELECT workflow_id, max(step) AS final_step, count(*) AS expected_count,
               count(*) FILTER (WHERE status = 'SUCCESSFUL') AS success_count,
               count(*) FILTER (WHERE status IN ('FAILED', 'CANCELLED')) AS failure_count
          FROM reproq_left GROUP BY workflow_id) AS l
 WHERE workflow_runs.workflow_id = l.workflow_id;
UPDATE task_runs SET workflow_id = l.workflow_id, step = l.step, after_step = l.after_step
  FROM reproq_left AS l WHERE task_runs.result_id = l.result_id;
INSERT INTO reproq_workflow_steps (workflow_id, step, pending, failed, culprit)
    SELECT workflow_id, step, count(*) FILTER (WHERE status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')),
           count(*) FILTER (WHERE status IN ('FAILED', 'CANCELLED')), min(result_id) FILTER (WHERE status IN ('FAILED', 'CANCELLED'))
      FROM reproq_left GROUP BY workflow_id, step;
INSERT INTO reproq_workflow_steps (workflow_id, step, pending, failed)
    SELECT DISTINCT workflow_id, after_step, 0, 1 FROM reproq_left WHERE after_step IS NOT NULL
ON CONFLICT DO NOTHING;
INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
    SELECT s.workflow_id, s.step, min(l.result_id), 0, 0
      FROM reproq_left l JOIN reproq_workflow_steps s ON s.workflow_id = l.workflow_id GROUP BY s.workflow_id, s.step;
DROP TABLE reproq_left;

DROP TRIGGER IF EXISTS reproq_periodic_tasks_rebase;
CREATE TRIGGER reproq_periodic_tasks_rebase AFTER UPDATE ON periodic_tasks
    WHEN NEW.next_run_at IS OLD.next_run_at AND NOT NEW.rebase
        AND (NEW.cron_expr IS NOT OLD.cron_expr OR NEW.timezone IS NOT OLD.timezone OR NEW.every_seconds IS NOT OLD.every_seconds
             OR NEW.start_at IS NOT OLD.start_at OR NEW.end_at IS NOT OLD.end_at OR (NEW.enabled AND NOT OLD.enabled))
BEGIN
    UPDATE periodic_tasks SET rebase = TRUE WHERE name = NEW.name;
END;

INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens) VALUES ('global', 0, 1, 0) ON CONFLICT (key) DO NOTHING;
INSERT INTO reproq_meta (key, value) VALUES ('schema_version', '4')
    ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value WHERE reproq_meta.value <> EXCLUDED.value;
