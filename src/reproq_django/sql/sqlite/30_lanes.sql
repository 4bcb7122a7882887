-- The lane of a READY run: `gate` says what holds it, `claim_key` where it stands in line, `visit_key` behind which keys.
-- Triggers own them, so that whoever makes a run READY (an enqueue, a retry, an operator, an older client) cannot get
-- them wrong. See ARCHITECTURE.md, "Claiming", and the PostgreSQL twin of this file for the meaning of the values.

INSERT INTO reproq_meta (key, value) VALUES ('priority_aging_seconds', '60') ON CONFLICT (key) DO NOTHING;

DROP VIEW IF EXISTS reproq_diverted_tasks;
DROP VIEW IF EXISTS reproq_paused_tasks;
DROP VIEW IF EXISTS reproq_paused_queues;
DROP VIEW IF EXISTS reproq_limited_queues;
DROP VIEW IF EXISTS reproq_lanes;

-- What lane a run belongs in, computed in one place: the triggers below and the statements that open gates read it.
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

-- Keep a key's limit as the latest enqueue states it; see reproq_key_limits.
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

-- A rate as the earlier system, its command line and its admin set it: tokens that are there now. What counts is `tat`.
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

-- A rate alone changes: as many starts as it was ahead, at the new pace.
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

-- What is paused now: a pause with an end is over when its time has come, and nobody has to do anything for that.
CREATE VIEW reproq_paused_queues AS
    SELECT queue_name, paused_at, reason, resume_at FROM reproq_queue_controls
     WHERE paused AND (resume_at IS NULL OR resume_at > strftime('%Y-%m-%d %H:%M:%f', 'now'));
CREATE VIEW reproq_paused_tasks AS
    SELECT task_path, paused_at, reason, resume_at FROM reproq_task_controls
     WHERE paused AND (resume_at IS NULL OR resume_at > strftime('%Y-%m-%d %H:%M:%f', 'now'));
-- Tasks whose runs must not be in the lane of runs that nothing holds back.
CREATE VIEW reproq_diverted_tasks AS
    SELECT task_path FROM reproq_paused_tasks
    UNION ALL
    SELECT substr(key, 6) FROM rate_limits WHERE key >= 'task:' AND key < 'task;' AND tokens_per_second > 0 AND burst_size > 0;
-- Queues whose every start is counted; the queue '' stands for all of them.
CREATE VIEW reproq_limited_queues AS
    SELECT CASE key WHEN 'global' THEN '' ELSE substr(key, 7) END AS queue_name FROM rate_limits
     WHERE (key = 'global' OR (key >= 'queue:' AND key < 'queue;')) AND tokens_per_second > 0 AND burst_size > 0;

-- Runs that the earlier system, or an earlier schema, left behind.
UPDATE task_runs SET
    claim_key = CAST((julianday(MAX(COALESCE(run_after, enqueued_at), enqueued_at)) - 2440587.5) * 86400000000.0 AS INTEGER) - lane.head_start,
    gate = CASE WHEN run_after > strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 1 ELSE lane.open_gate END,
    visit_key = CASE lane.open_gate WHEN 2 THEN lane.visit_key END
  FROM reproq_lanes AS lane
 WHERE lane.result_id = task_runs.result_id AND status = 'READY'
   AND (claim_key IS NULL OR gate IS NULL OR (task_runs.visit_key IS NULL AND lane.open_gate = 2));
UPDATE task_runs SET leased_until = strftime('%Y-%m-%d %H:%M:%f', 'now', '+5 minutes')
 WHERE status = 'RUNNING' AND leased_until IS NULL;
