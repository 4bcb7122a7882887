-- The lane of a READY run: `gate` says what holds it, `claim_key` where it stands in line, `visit_key` behind which keys.
-- A trigger owns them, so that whoever makes a run READY (an enqueue, a retry, an operator, an older client) cannot get
-- them wrong. See ARCHITECTURE.md, "Claiming".
--   gate 0 claimable, 1 not due, 2 keyed (a lock, a limit, a rate, a fair share; or its task is paused or limited), 3 held
--   claim_key = microseconds since 1970 of becoming eligible - priority * aging: a fixed number that orders runs
--   exactly as `priority + age / aging` would, whenever it is read.
--   visit_key = the group that takes turns with other groups, then everything else that can hold the run back: runs with one
--   visit_key are held back by the same things, so that behind a blocked one nothing else has to be looked at.

INSERT INTO reproq_meta (key, value) VALUES ('priority_aging_seconds', '60') ON CONFLICT (key) DO NOTHING;

-- These functions are plain expressions, so that a statement over many runs has them inlined.
CREATE OR REPLACE FUNCTION reproq_claim_key_of(eligible_at TIMESTAMPTZ, priority INTEGER, aging_seconds NUMERIC) RETURNS BIGINT
LANGUAGE sql STABLE AS $reproq$
    SELECT (extract(epoch FROM eligible_at) * 1000000)::bigint - (priority::numeric * 1000000 * aging_seconds)::bigint
$reproq$;

CREATE OR REPLACE FUNCTION reproq_claim_key(eligible_at TIMESTAMPTZ, priority INTEGER) RETURNS BIGINT
LANGUAGE sql STABLE AS $reproq$
    SELECT reproq_claim_key_of(eligible_at, priority, (SELECT value::numeric FROM reproq_meta WHERE key = 'priority_aging_seconds'))
$reproq$;

-- An index entry has to fit a third of a page.
CREATE OR REPLACE FUNCTION reproq_short(key TEXT) RETURNS TEXT
LANGUAGE sql IMMUTABLE AS $reproq$
    SELECT CASE WHEN octet_length(key) <= 400 THEN key ELSE md5(key) END
$reproq$;

CREATE OR REPLACE FUNCTION reproq_visit_key(fairness_key TEXT, concurrency_key TEXT, lock_key TEXT, rate_key TEXT, task_path TEXT)
RETURNS TEXT LANGUAGE sql IMMUTABLE AS $reproq$
    SELECT COALESCE('F' || reproq_short(COALESCE(NULLIF(fairness_key, ''), NULLIF(concurrency_key, ''))),
                    'L' || reproq_short(NULLIF(lock_key, '')), 'R' || reproq_short(NULLIF(rate_key, '')), 'T' || reproq_short(task_path))
        || E'\x1f' || COALESCE(reproq_short(lock_key), '') || E'\x1f' || COALESCE(reproq_short(concurrency_key), '')
        || E'\x1f' || COALESCE(reproq_short(rate_key), '') || E'\x1f' || reproq_short(task_path)
$reproq$;

DROP FUNCTION IF EXISTS reproq_open_gate(TEXT, TEXT, INTEGER);
CREATE OR REPLACE FUNCTION reproq_open_gate(fairness_key TEXT, concurrency_key TEXT, lock_key TEXT, rate_key TEXT) RETURNS SMALLINT
LANGUAGE sql IMMUTABLE AS $reproq$
    SELECT CASE WHEN lock_key <> '' OR concurrency_key <> '' OR fairness_key <> '' OR rate_key <> '' THEN 2 ELSE 0 END::smallint
$reproq$;

CREATE OR REPLACE FUNCTION reproq_assign_lane() RETURNS TRIGGER
LANGUAGE plpgsql AS $reproq$
BEGIN
    IF NEW.task_path IS NULL OR NEW.task_path = '' THEN
        NEW.task_path := NEW.spec_json ->> 'task_path';
    END IF;
    NEW.claim_key := reproq_claim_key(
        GREATEST(NEW.run_after, CASE TG_OP WHEN 'INSERT' THEN NEW.enqueued_at ELSE clock_timestamp() END), NEW.priority);
    NEW.gate := reproq_open_gate(NEW.fairness_key, NEW.concurrency_key, NEW.lock_key, NEW.rate_key);
    NEW.visit_key := NULL;
    IF NEW.gate = 2 THEN
        NEW.visit_key := reproq_visit_key(NEW.fairness_key, NEW.concurrency_key, NEW.lock_key, NEW.rate_key, NEW.task_path);
    END IF;
    IF NEW.run_after > clock_timestamp() THEN
        NEW.gate := 1;
    END IF;
    RETURN NEW;
END
$reproq$;

DROP TRIGGER IF EXISTS trg_task_runs_task_path ON task_runs;
DROP FUNCTION IF EXISTS reproq_task_path_from_spec();

-- Not for a row that comes with its lane, as those of reproq_insert_runs do.
CREATE OR REPLACE TRIGGER reproq_task_runs_insert_lane BEFORE INSERT ON task_runs
    FOR EACH ROW WHEN (NEW.claim_key IS NULL OR NEW.gate IS NULL) EXECUTE FUNCTION reproq_assign_lane();

CREATE OR REPLACE TRIGGER reproq_task_runs_update_lane
    BEFORE UPDATE OF status, run_after, priority, lock_key, concurrency_key, concurrency_limit, fairness_key, rate_key ON task_runs
    FOR EACH ROW
    WHEN (NEW.status = 'READY' AND (OLD.status, OLD.run_after, OLD.priority, OLD.lock_key, OLD.concurrency_key, OLD.concurrency_limit,
                                    OLD.fairness_key, OLD.rate_key)
          IS DISTINCT FROM (NEW.status, NEW.run_after, NEW.priority, NEW.lock_key, NEW.concurrency_key, NEW.concurrency_limit,
                            NEW.fairness_key, NEW.rate_key))
    EXECUTE FUNCTION reproq_assign_lane();

-- Keeps a key's limit as the latest enqueue states it; see reproq_key_limits. After the row is there: an enqueue that joins a twin
-- says nothing.
DROP FUNCTION IF EXISTS reproq_state_limit(TEXT, DOUBLE PRECISION, INTEGER);
CREATE OR REPLACE FUNCTION reproq_state_limits() RETURNS TRIGGER
LANGUAGE plpgsql AS $reproq$
DECLARE
    word RECORD;
BEGIN
    FOR word IN
        SELECT 'concurrency:' || NEW.concurrency_key AS key, NEW.concurrency_limit::float8 AS amount, 1 AS burst
         WHERE NEW.concurrency_key <> '' AND NEW.concurrency_limit > 0
        UNION ALL
        SELECT NEW.rate_key, NEW.rate_per_second, GREATEST(COALESCE(NEW.rate_burst, 1), 1)
         WHERE NEW.rate_key <> '' AND NEW.rate_per_second > 0
    LOOP
        IF NOT COALESCE((SELECT k.amount = word.amount AND k.burst = word.burst FROM reproq_key_limits k
                          WHERE k.key = word.key AND NOT k.pinned ORDER BY k.limit_id DESC LIMIT 1), FALSE) THEN
            INSERT INTO reproq_key_limits (key, amount, burst) VALUES (word.key, word.amount, word.burst);
        END IF;
    END LOOP;
    RETURN NULL;
END
$reproq$;

CREATE OR REPLACE TRIGGER reproq_task_runs_state_limits AFTER INSERT ON task_runs
    FOR EACH ROW WHEN ((NEW.concurrency_key <> '' AND NEW.concurrency_limit > 0) OR (NEW.rate_key <> '' AND NEW.rate_per_second > 0))
    EXECUTE FUNCTION reproq_state_limits();
CREATE OR REPLACE TRIGGER reproq_task_runs_restate_limits AFTER UPDATE OF concurrency_key, concurrency_limit ON task_runs
    FOR EACH ROW WHEN (NEW.status = 'READY' AND NEW.concurrency_key <> '' AND NEW.concurrency_limit > 0
        AND (OLD.concurrency_key, OLD.concurrency_limit) IS DISTINCT FROM (NEW.concurrency_key, NEW.concurrency_limit))
    EXECUTE FUNCTION reproq_state_limits();

-- A rate as the earlier system, its command line and its admin set it: tokens that are there now. What counts is `tat`.
CREATE OR REPLACE FUNCTION reproq_take_over_tokens() RETURNS TRIGGER
LANGUAGE plpgsql AS $reproq$
BEGIN
    NEW.tat := NULL;
    IF NEW.tokens_per_second > 0 AND NEW.current_tokens < NEW.burst_size THEN
        NEW.tat := (extract(epoch FROM NEW.last_refilled_at) * 1000000
                    + (NEW.burst_size - NEW.current_tokens) / NEW.tokens_per_second * 1000000)::bigint;
    END IF;
    RETURN NEW;
END
$reproq$;

CREATE OR REPLACE TRIGGER reproq_rate_limits_insert BEFORE INSERT ON rate_limits
    FOR EACH ROW WHEN (NEW.tat IS NULL AND NOT NEW.stated) EXECUTE FUNCTION reproq_take_over_tokens();
CREATE OR REPLACE TRIGGER reproq_rate_limits_update BEFORE UPDATE OF current_tokens, last_refilled_at ON rate_limits
    FOR EACH ROW
    WHEN (NEW.tat IS NOT DISTINCT FROM OLD.tat AND (OLD.current_tokens, OLD.last_refilled_at)
          IS DISTINCT FROM (NEW.current_tokens, NEW.last_refilled_at))
    EXECUTE FUNCTION reproq_take_over_tokens();

-- A rate alone changes: as many starts as it was ahead, at the new pace.
CREATE OR REPLACE FUNCTION reproq_take_over_pace() RETURNS TRIGGER
LANGUAGE plpgsql AS $reproq$
DECLARE
    present CONSTANT BIGINT := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
BEGIN
    IF OLD.tat > present AND NEW.tokens_per_second > 0 AND OLD.tokens_per_second > 0 THEN
        NEW.tat := present + ceil((OLD.tat - present) * OLD.tokens_per_second::float8 / NEW.tokens_per_second)::bigint;
    END IF;
    RETURN NEW;
END
$reproq$;

CREATE OR REPLACE TRIGGER reproq_rate_limits_update_pace BEFORE UPDATE OF tokens_per_second ON rate_limits
    FOR EACH ROW
    WHEN (NEW.tat = OLD.tat AND OLD.tokens_per_second <> NEW.tokens_per_second
          AND (OLD.current_tokens, OLD.last_refilled_at) = (NEW.current_tokens, NEW.last_refilled_at))
    EXECUTE FUNCTION reproq_take_over_pace();

ALTER TABLE task_runs DROP CONSTRAINT IF EXISTS task_runs_task_path_not_empty;
ALTER TABLE task_runs ADD CONSTRAINT task_runs_task_path_not_empty CHECK (task_path <> '') NOT VALID;

-- What is paused now: a pause with an end is over when its time has come, and nobody has to do anything for that.
CREATE OR REPLACE VIEW reproq_paused_queues AS
    SELECT queue_name, paused_at, reason, resume_at FROM reproq_queue_controls WHERE paused AND (resume_at IS NULL OR resume_at > now());
CREATE OR REPLACE VIEW reproq_paused_tasks AS
    SELECT task_path, paused_at, reason, resume_at FROM reproq_task_controls WHERE paused AND (resume_at IS NULL OR resume_at > now());
-- Tasks whose runs must not be in the lane of runs that nothing holds back.
CREATE OR REPLACE VIEW reproq_diverted_tasks AS
    SELECT task_path FROM reproq_paused_tasks
    UNION ALL
    SELECT substr(key, 6) FROM rate_limits WHERE key LIKE 'task:%' AND tokens_per_second > 0 AND burst_size > 0;
-- Queues whose every start is counted; the queue '' stands for all of them.
CREATE OR REPLACE VIEW reproq_limited_queues AS
    SELECT CASE key WHEN 'global' THEN '' ELSE substr(key, 7) END AS queue_name
      FROM rate_limits WHERE (key = 'global' OR key LIKE 'queue:%') AND tokens_per_second > 0 AND burst_size > 0;

-- Runs that the earlier system, or an earlier schema, left behind.
UPDATE task_runs SET
    claim_key = reproq_claim_key(GREATEST(run_after, enqueued_at), priority),
    visit_key = CASE reproq_open_gate(fairness_key, concurrency_key, lock_key, rate_key)
        WHEN 2 THEN reproq_visit_key(fairness_key, concurrency_key, lock_key, rate_key, task_path) END,
    gate = CASE WHEN run_after > now() THEN 1 ELSE reproq_open_gate(fairness_key, concurrency_key, lock_key, rate_key) END
 WHERE status = 'READY' AND (claim_key IS NULL OR gate IS NULL
    OR (visit_key IS NULL AND reproq_open_gate(fairness_key, concurrency_key, lock_key, rate_key) = 2));
UPDATE task_runs SET leased_until = now() + interval '5 minutes' WHERE status = 'RUNNING' AND leased_until IS NULL;
