-- THE insert of runs, see statements/insert_runs.sql. A function, because PostgreSQL keeps the plan of what is in one for as long as the
-- session lasts, behind a transaction pooler too; planning this statement costs more than running it for one run.

-- What an enqueue says of a run beside its spec. Names are those of task_runs where there is such a column.
DO $reproq$
DECLARE
    ids CONSTANT TEXT := pg_get_serial_sequence('task_runs', 'result_id');
BEGIN
    IF to_regtype('reproq_new_run') IS NULL THEN
        CREATE TYPE reproq_new_run AS (
            result_id BIGINT, backend_alias TEXT, queue_name TEXT, priority INTEGER, run_after TIMESTAMPTZ, spec_hash TEXT,
            task_path TEXT, max_attempts INTEGER, timeout_seconds INTEGER, lock_key TEXT, concurrency_key TEXT,
            concurrency_limit INTEGER, expires_in_seconds DOUBLE PRECISION, dedup SMALLINT, fairness_key TEXT, rate_key TEXT,
            rate_per_second DOUBLE PRECISION, rate_burst INTEGER, over_limit SMALLINT, status TEXT, workflow_id UUID, step INTEGER,
            after_step INTEGER);
    END IF;
    -- The function names the sequence, since looking it up takes longer than asking it.
    IF ids::regclass IS DISTINCT FROM to_regclass('task_runs_result_id_seq') THEN
        EXECUTE format('ALTER SEQUENCE %s RENAME TO task_runs_result_id_seq', ids);
    END IF;
END
$reproq$;

-- Inserts a run for each line of `specs`, which are the texts of their specs and are stored as they are. `shared`, an object with fields
-- of reproq_new_run, holds for all of them; `runs` has an object for each with what is its own. Without a result_id a run gets the
-- sequence's next, without a status it is READY.
-- The answer has an id for each line; NULL: the run is a duplicate, by the unique indexes of 40_indexes.sql. All were enqueued at `since`.
CREATE OR REPLACE FUNCTION reproq_insert_runs(specs TEXT, shared JSON, runs JSON, OUT ids BIGINT[], OUT since TIMESTAMPTZ)
LANGUAGE plpgsql AS $reproq$
DECLARE
    queues TEXT[];
BEGIN
    since := statement_timestamp();
    WITH input AS MATERIALIZED (
        -- Ids are taken in input order: among equals, the first of a batch runs first.
        SELECT COALESCE(n.known_id, nextval('task_runs_result_id_seq'::regclass)) AS result_id, n.*,
               reproq_open_gate(n.fairness_key, n.concurrency_key, n.lock_key, n.rate_key) AS open_gate
          FROM ROWS FROM (
                unnest(string_to_array(specs, E'\n')),
                json_populate_recordset(json_populate_record(NULL::reproq_new_run, shared), runs)
               ) WITH ORDINALITY AS n (
                spec_json, known_id, backend_alias, queue_name, priority, run_after, spec_hash, task_path, max_attempts,
                timeout_seconds, lock_key, concurrency_key, concurrency_limit, expires_in_seconds, dedup, fairness_key, rate_key,
                rate_per_second, rate_burst, over_limit, status, workflow_id, step, after_step, position)
    ), inserted AS (
        -- With the lane, as reproq_assign_lane gives it, so that the trigger need not be called for each row.
        INSERT INTO task_runs AS run (
            result_id, backend_alias, queue_name, priority, run_after, spec_json, spec_hash, task_path, max_attempts,
            timeout_seconds, lock_key, concurrency_key, concurrency_limit, expires_at, dedup, fairness_key, rate_key,
            rate_per_second, rate_burst, over_limit, workflow_id, step, after_step, status, enqueued_at, claim_key, gate, visit_key)
        SELECT i.result_id, i.backend_alias, i.queue_name, i.priority, i.run_after, i.spec_json::json, i.spec_hash, i.task_path,
               i.max_attempts, i.timeout_seconds, i.lock_key, i.concurrency_key, i.concurrency_limit,
               since + make_interval(secs => i.expires_in_seconds), i.dedup, i.fairness_key, i.rate_key,
               i.rate_per_second, i.rate_burst, i.over_limit, i.workflow_id, i.step, i.after_step, COALESCE(i.status, 'READY'), since,
               reproq_claim_key_of(GREATEST(i.run_after, since), i.priority,
                                   (SELECT value::numeric FROM reproq_meta WHERE key = 'priority_aging_seconds')),
               CASE WHEN i.run_after > clock_timestamp() THEN 1 ELSE i.open_gate END,
               CASE i.open_gate WHEN 2 THEN reproq_visit_key(i.fairness_key, i.concurrency_key, i.lock_key, i.rate_key, i.task_path) END
          FROM input i
         -- Two enqueues that share several specs wait for each other's rows in the same order, so neither deadlocks.
         ORDER BY i.spec_hash, i.position
        ON CONFLICT DO NOTHING
        RETURNING run.result_id, run.queue_name
    )
    SELECT array_agg(inserted.result_id ORDER BY input.position),
           array_agg(DISTINCT inserted.queue_name) FILTER (WHERE inserted.queue_name IS NOT NULL)
      INTO ids, queues
      FROM input LEFT JOIN inserted USING (result_id);

    -- Delivered at commit, and only when a worker has said that it sleeps: a notification costs every commit a global lock.
    IF EXISTS (SELECT FROM reproq_workers WHERE wants_wake AND last_seen_at > now() - interval '30 seconds') THEN
        PERFORM pg_notify('reproq_wake', queue) FROM unnest(queues) AS queue;
    END IF;
END
$reproq$;
