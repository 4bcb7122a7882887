-- The tables of Reproq.
-- Every statement of this folder may run any number of times, on an empty database as on an existing one.
-- Times are Django's text form in UTC (2030-01-02 03:04:05.678901), UUIDs its 32 hex digits.

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

-- What an operator has ordered for a task, as reproq_queue_controls has it for a queue.
CREATE TABLE IF NOT EXISTS reproq_task_controls (
    task_path TEXT NOT NULL PRIMARY KEY,
    paused BOOL NOT NULL DEFAULT FALSE,
    paused_at DATETIME,
    reason TEXT,
    resume_at DATETIME,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now')),
    updated_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

-- What enqueues have said about a key: the latest word counts, unless an operator has pinned one.
--   'concurrency:<key>' amount = runs at the same time; a rate's key ('key:...', 'task:...') amount = starts per second
CREATE TABLE IF NOT EXISTS reproq_key_limits (
    limit_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    amount REAL NOT NULL,
    burst INTEGER NOT NULL DEFAULT 1,
    pinned BOOL NOT NULL DEFAULT FALSE,
    created_at DATETIME NOT NULL DEFAULT (strftime('%Y-%m-%d %H:%M:%f', 'now'))
);

-- What an attempt has printed, the end of it at least: [["o", "text"], ["e", "text"], ...] in the order in which the worker read it.
-- `bytes` of text are kept, `dropped` came before them. No foreign key: whether SQLite heeds one is each connection's choice. A
-- trigger takes the logs away with their run.
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

-- A step of a workflow: the runs that count for it (`task_runs.step`) must end before those that wait for it (`after_step`) start.
--   pending: how many of its runs have not ended; failed: how many have ended badly, the first of them `culprit`
CREATE TABLE IF NOT EXISTS reproq_workflow_steps (
    workflow_id CHAR(32) NOT NULL,
    step INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    failed INTEGER NOT NULL DEFAULT 0,
    culprit INTEGER,
    PRIMARY KEY (workflow_id, step)
);

-- What has become of members of workflows and has not been counted yet. A trigger adds, whoever ends a run or revives it, in the same
-- transaction; a worker takes the rows away when it counts them.
CREATE TABLE IF NOT EXISTS reproq_workflow_events (
    event_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    workflow_id CHAR(32) NOT NULL,
    step INTEGER NOT NULL,
    result_id INTEGER NOT NULL,
    ended SMALLINT NOT NULL,
    failed SMALLINT NOT NULL
);

-- What each tick of a schedule has led to; (name, scheduled_at) is why a schedule fires once. The newest hundred of a schedule are kept.
--   state: enqueued, manual (somebody wanted a run now), skipped (an earlier run had not ended), missed (`count` ticks, until
--   `missed_until`, came while nobody looked, and the schedule does not catch up on them)
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

-- schema_version, and the one fact that both the web and the workers order runs by: seconds of waiting per point of priority.
CREATE TABLE IF NOT EXISTS reproq_meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
