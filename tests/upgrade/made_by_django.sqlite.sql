-- The earlier system's tables as Django's migration makes them: no column default, a deferrable foreign key without an
-- action, Django's own indexes, no rate_limits and no workflow_runs.

CREATE TABLE task_runs (
    result_id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    backend_alias TEXT NOT NULL,
    queue_name TEXT NOT NULL,
    priority INTEGER NOT NULL,
    run_after datetime,
    spec_json text NOT NULL CHECK (JSON_VALID(spec_json)),
    spec_hash VARCHAR(64) NOT NULL,
    task_path TEXT NOT NULL,
    status TEXT NOT NULL,
    enqueued_at datetime NOT NULL,
    started_at datetime,
    last_attempted_at datetime,
    finished_at datetime,
    attempts INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    timeout_seconds INTEGER NOT NULL,
    lock_key TEXT,
    concurrency_key TEXT,
    concurrency_limit INTEGER NOT NULL,
    worker_ids text NOT NULL CHECK (JSON_VALID(worker_ids)),
    return_json text CHECK (JSON_VALID(return_json) OR return_json IS NULL),
    errors_json text NOT NULL CHECK (JSON_VALID(errors_json)),
    metadata_json text NOT NULL CHECK (JSON_VALID(metadata_json)),
    last_error TEXT,
    failed_at datetime,
    leased_until datetime,
    leased_by TEXT,
    logs_uri TEXT,
    artifacts_uri TEXT,
    expires_at datetime,
    parent_id bigint REFERENCES task_runs (result_id) DEFERRABLE INITIALLY DEFERRED,
    workflow_id char(32),
    wait_count INTEGER NOT NULL,
    created_at datetime NOT NULL,
    updated_at datetime NOT NULL,
    cancel_requested bool NOT NULL
);

CREATE INDEX idx_task_runs_claim ON task_runs (queue_name, status, priority DESC, enqueued_at) WHERE status = 'READY';
CREATE INDEX idx_task_runs_claim_due ON task_runs (queue_name, COALESCE(run_after, ''), priority DESC, enqueued_at)
    WHERE status = 'READY';
CREATE UNIQUE INDEX idx_task_runs_spec_hash_active ON task_runs (spec_hash) WHERE status IN ('READY', 'RUNNING');
CREATE INDEX idx_task_runs_lock_key ON task_runs (lock_key) WHERE status = 'RUNNING';
CREATE INDEX idx_task_runs_concurrency ON task_runs (concurrency_key, leased_until) WHERE status = 'RUNNING';
CREATE INDEX idx_task_runs_parent ON task_runs (parent_id) WHERE status = 'WAITING';
CREATE INDEX idx_task_runs_workflow ON task_runs (workflow_id);
CREATE INDEX idx_task_runs_failed ON task_runs (failed_at) WHERE status = 'FAILED';
CREATE INDEX idx_task_runs_task_path ON task_runs (task_path);
CREATE INDEX a_site_made_this_itself ON task_runs (finished_at);

CREATE TABLE periodic_tasks (
    name TEXT NOT NULL PRIMARY KEY,
    cron_expr TEXT NOT NULL,
    task_path TEXT NOT NULL,
    payload_json text NOT NULL CHECK (JSON_VALID(payload_json)),
    queue_name TEXT NOT NULL,
    priority INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL,
    concurrency_key TEXT,
    concurrency_limit INTEGER NOT NULL,
    last_run_at datetime,
    next_run_at datetime NOT NULL,
    enabled bool NOT NULL,
    created_at datetime NOT NULL,
    updated_at datetime NOT NULL
);
CREATE TABLE reproq_workers (
    worker_id TEXT NOT NULL PRIMARY KEY,
    hostname TEXT NOT NULL,
    concurrency INTEGER NOT NULL,
    queues text NOT NULL CHECK (JSON_VALID(queues)),
    started_at datetime NOT NULL,
    last_seen_at datetime NOT NULL,
    version TEXT
);
CREATE TABLE reproq_queue_controls (
    queue_name TEXT NOT NULL PRIMARY KEY,
    paused bool NOT NULL,
    paused_at datetime,
    reason TEXT,
    created_at datetime NOT NULL,
    updated_at datetime NOT NULL
);

CREATE INDEX task_runs_status_5b1d0a77 ON task_runs (status);
CREATE INDEX task_runs_queue_n_8d2e41_idx ON task_runs (queue_name, status);
CREATE INDEX task_runs_concurr_19c0ff_idx ON task_runs (concurrency_key, status);
CREATE INDEX task_runs_parent_id_3f9a1c2e ON task_runs (parent_id);

CREATE TABLE django_migrations (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    app VARCHAR(255) NOT NULL,
    name VARCHAR(255) NOT NULL,
    applied datetime NOT NULL
);
INSERT INTO django_migrations (app, name, applied) VALUES ('reproq_django', '0001_baseline', '2026-01-01 00:00:00');
