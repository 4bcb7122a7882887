-- READY -> RUNNING for candidates whose keys this transaction has locked.
-- It must be a statement of its own: its snapshot is then younger than the locks, so every holder that let go of a key
-- before has been seen to do so. (Locking inside the statement that counts lets eight runs hold one lock.)
-- A run without a limit holds a number that nobody else can have and nobody counts (below 1); it is there for the lock.
-- $1 candidates, $2 limit, $3 worker id, $4 incarnation, $5 lease in seconds
WITH candidate AS MATERIALIZED (
    SELECT r.result_id, r.claim_key, NULLIF(r.lock_key, '') AS lock_key, r.concurrency_limit,
           CASE WHEN r.concurrency_limit > 0 THEN NULLIF(r.concurrency_key, '') END AS concurrency_key
      FROM task_runs r
     WHERE r.result_id = ANY ($1) AND r.status = 'READY' AND r.gate = 2
     ORDER BY r.result_id FOR NO KEY UPDATE SKIP LOCKED
), lockable AS (
    SELECT c.*, row_number() OVER (PARTITION BY c.lock_key ORDER BY c.claim_key, c.result_id) AS place
      FROM candidate c
     WHERE c.lock_key IS NULL OR NOT EXISTS (
        SELECT 1 FROM task_runs x WHERE x.lock_key = c.lock_key AND x.lock_key <> '' AND x.status = 'RUNNING' AND x.slot_no IS NOT NULL)
), in_line AS (
    SELECT l.*, row_number() OVER (PARTITION BY l.concurrency_key ORDER BY l.claim_key, l.result_id) AS slot_place
      FROM lockable l WHERE l.lock_key IS NULL OR l.place = 1
), counted AS (
    SELECT i.*, (SELECT count(*) FROM task_runs x
                  WHERE x.concurrency_key = i.concurrency_key AND x.concurrency_key <> '' AND x.slot_no > 0 AND x.status = 'RUNNING') AS taken
      FROM in_line i
), admitted AS (
    SELECT c.result_id, COALESCE(slot.slot_no, -(c.result_id % 2147483647)::int) AS slot_no
      FROM counted c LEFT JOIN LATERAL (
        -- Among so many numbers there are enough free ones, whatever the limit.
        SELECT n.slot_no FROM generate_series(1, LEAST(c.concurrency_limit, c.taken + c.slot_place)::int) AS n (slot_no)
         WHERE c.slot_place <= c.concurrency_limit - c.taken
           AND NOT EXISTS (SELECT 1 FROM task_runs x
                            WHERE x.concurrency_key = c.concurrency_key AND x.concurrency_key <> '' AND x.slot_no = n.slot_no AND x.status = 'RUNNING')
         ORDER BY n.slot_no OFFSET c.slot_place - 1 LIMIT 1) AS slot ON c.concurrency_key IS NOT NULL
     WHERE c.concurrency_key IS NULL OR slot.slot_no IS NOT NULL
     ORDER BY c.claim_key, c.result_id LIMIT $2
)
UPDATE task_runs r SET
    status = 'RUNNING', slot_no = admitted.slot_no, epoch = r.epoch + 1, attempts = r.attempts + 1,
    started_at = COALESCE(r.started_at, clock_timestamp()), last_attempted_at = clock_timestamp(), updated_at = clock_timestamp(),
    leased_until = clock_timestamp() + make_interval(secs => $5), leased_by = $3, incarnation = $4,
    worker_ids = r.worker_ids || to_jsonb($3::text),
    dedup = CASE r.dedup WHEN 1 THEN 0 ELSE r.dedup END
  FROM admitted WHERE r.result_id = admitted.result_id
RETURNING r.result_id, r.epoch, r.attempts, r.max_attempts, r.crash_count, r.timeout_seconds, r.task_path, r.queue_name,
    r.backend_alias, r.spec_json::text AS spec, r.worker_ids::text AS worker_ids, r.errors_json::text AS errors,
    r.metadata_json::text AS metadata, r.enqueued_at, r.started_at, r.last_attempted_at, r.claim_key,
    COALESCE(r.expires_at <= clock_timestamp(), FALSE) AS expired
