-- The lane of a READY run: `gate` says what holds it, `claim_key` where it stands in line.
-- Triggers own both, so that whoever makes a run READY (an enqueue, a retry, an operator, an older client) cannot get
-- them wrong. See ARCHITECTURE.md, "Claiming", and the PostgreSQL twin of this file for the meaning of the numbers.

INSERT INTO reproq_meta (key, value) VALUES ('priority_aging_seconds', '60') ON CONFLICT (key) DO NOTHING;

DROP TRIGGER IF EXISTS reproq_task_runs_insert_lane;
CREATE TRIGGER reproq_task_runs_insert_lane AFTER INSERT ON task_runs
BEGIN
    UPDATE task_runs SET
        task_path = CASE WHEN NEW.task_path = '' THEN json_extract(NEW.spec_json, '$.task_path') ELSE NEW.task_path END,
        claim_key = CAST((julianday(MAX(COALESCE(NEW.run_after, NEW.enqueued_at), NEW.enqueued_at)) - 2440587.5) * 86400000000.0 AS INTEGER)
            - CAST(NEW.priority * 1000000 * (SELECT CAST(value AS REAL) FROM reproq_meta WHERE key = 'priority_aging_seconds') AS INTEGER),
        gate = CASE WHEN NEW.run_after > strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 1
                    WHEN NEW.lock_key <> '' OR (NEW.concurrency_key <> '' AND NEW.concurrency_limit > 0) THEN 2 ELSE 0 END
     WHERE result_id = NEW.result_id;
END;

DROP TRIGGER IF EXISTS reproq_task_runs_update_lane;
CREATE TRIGGER reproq_task_runs_update_lane
    AFTER UPDATE OF status, run_after, priority, lock_key, concurrency_key, concurrency_limit ON task_runs
    WHEN NEW.status = 'READY' AND (OLD.status IS NOT NEW.status OR OLD.run_after IS NOT NEW.run_after
        OR OLD.priority IS NOT NEW.priority OR OLD.lock_key IS NOT NEW.lock_key
        OR OLD.concurrency_key IS NOT NEW.concurrency_key OR OLD.concurrency_limit IS NOT NEW.concurrency_limit)
BEGIN
    UPDATE task_runs SET
        claim_key = CAST((julianday(MAX(COALESCE(NEW.run_after, ''), strftime('%Y-%m-%d %H:%M:%f', 'now'))) - 2440587.5) * 86400000000.0 AS INTEGER)
            - CAST(NEW.priority * 1000000 * (SELECT CAST(value AS REAL) FROM reproq_meta WHERE key = 'priority_aging_seconds') AS INTEGER),
        gate = CASE WHEN NEW.run_after > strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 1
                    WHEN NEW.lock_key <> '' OR (NEW.concurrency_key <> '' AND NEW.concurrency_limit > 0) THEN 2 ELSE 0 END
     WHERE result_id = NEW.result_id;
END;

-- Runs that the earlier system left behind.
UPDATE task_runs SET
    claim_key = CAST((julianday(MAX(COALESCE(run_after, enqueued_at), enqueued_at)) - 2440587.5) * 86400000000.0 AS INTEGER)
        - CAST(priority * 1000000 * (SELECT CAST(value AS REAL) FROM reproq_meta WHERE key = 'priority_aging_seconds') AS INTEGER),
    gate = CASE WHEN run_after > strftime('%Y-%m-%d %H:%M:%f', 'now') THEN 1
                WHEN lock_key <> '' OR (concurrency_key <> '' AND concurrency_limit > 0) THEN 2 ELSE 0 END
 WHERE status = 'READY' AND (claim_key IS NULL OR gate IS NULL);
UPDATE task_runs SET leased_until = strftime('%Y-%m-%d %H:%M:%f', 'now', '+5 minutes')
 WHERE status = 'RUNNING' AND leased_until IS NULL;
