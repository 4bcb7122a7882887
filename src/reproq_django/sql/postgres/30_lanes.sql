-- The lane of a READY run: `gate` says what holds it, `claim_key` where it stands in line.
-- A trigger owns both, so that whoever makes a run READY (an enqueue, a retry, an operator, an older client) cannot get
-- them wrong. See ARCHITECTURE.md, "Claiming".
--   gate 0 claimable, 1 not due, 2 keyed (lock or concurrency limit), 3 held
--   claim_key = microseconds since 1970 of becoming eligible - priority * aging: a fixed number that orders runs
--   exactly as `priority + age / aging` would, whenever it is read.

INSERT INTO reproq_meta (key, value) VALUES ('priority_aging_seconds', '60') ON CONFLICT (key) DO NOTHING;

CREATE OR REPLACE FUNCTION reproq_claim_key(eligible_at TIMESTAMPTZ, priority INTEGER) RETURNS BIGINT
LANGUAGE sql STABLE AS $reproq$
    SELECT (extract(epoch FROM eligible_at) * 1000000)::bigint
         - (priority::numeric * 1000000 * (SELECT value::numeric FROM reproq_meta WHERE key = 'priority_aging_seconds'))::bigint
$reproq$;

CREATE OR REPLACE FUNCTION reproq_open_gate(lock_key TEXT, concurrency_key TEXT, concurrency_limit INTEGER) RETURNS SMALLINT
LANGUAGE sql IMMUTABLE AS $reproq$
    SELECT CASE WHEN lock_key <> '' OR (concurrency_key <> '' AND concurrency_limit > 0) THEN 2 ELSE 0 END::smallint
$reproq$;

CREATE OR REPLACE FUNCTION reproq_assign_lane() RETURNS TRIGGER
LANGUAGE plpgsql AS $reproq$
BEGIN
    IF NEW.task_path IS NULL OR NEW.task_path = '' THEN
        NEW.task_path := NEW.spec_json ->> 'task_path';
    END IF;
    NEW.claim_key := reproq_claim_key(
        GREATEST(NEW.run_after, CASE TG_OP WHEN 'INSERT' THEN NEW.enqueued_at ELSE clock_timestamp() END), NEW.priority);
    NEW.gate := CASE WHEN NEW.run_after > clock_timestamp() THEN 1
                     ELSE reproq_open_gate(NEW.lock_key, NEW.concurrency_key, NEW.concurrency_limit) END;
    RETURN NEW;
END
$reproq$;

DROP TRIGGER IF EXISTS trg_task_runs_task_path ON task_runs;
DROP FUNCTION IF EXISTS reproq_task_path_from_spec();

CREATE OR REPLACE TRIGGER reproq_task_runs_insert_lane BEFORE INSERT ON task_runs
    FOR EACH ROW EXECUTE FUNCTION reproq_assign_lane();

CREATE OR REPLACE TRIGGER reproq_task_runs_update_lane
    BEFORE UPDATE OF status, run_after, priority, lock_key, concurrency_key, concurrency_limit ON task_runs
    FOR EACH ROW
    WHEN (NEW.status = 'READY' AND (OLD.status, OLD.run_after, OLD.priority, OLD.lock_key, OLD.concurrency_key, OLD.concurrency_limit)
          IS DISTINCT FROM (NEW.status, NEW.run_after, NEW.priority, NEW.lock_key, NEW.concurrency_key, NEW.concurrency_limit))
    EXECUTE FUNCTION reproq_assign_lane();

ALTER TABLE task_runs DROP CONSTRAINT IF EXISTS task_runs_task_path_not_empty;
ALTER TABLE task_runs ADD CONSTRAINT task_runs_task_path_not_empty CHECK (task_path <> '') NOT VALID;

-- Runs that the earlier system left behind.
UPDATE task_runs SET
    claim_key = reproq_claim_key(GREATEST(run_after, enqueued_at), priority),
    gate = CASE WHEN run_after > now() THEN 1 ELSE reproq_open_gate(lock_key, concurrency_key, concurrency_limit) END
 WHERE status = 'READY' AND (claim_key IS NULL OR gate IS NULL);
UPDATE task_runs SET leased_until = now() + interval '5 minutes' WHERE status = 'RUNNING' AND leased_until IS NULL;
