-- READY -> RUNNING for candidates whose keys are free. One statement, and SQLite has one writer: nothing can come between
-- the look at a key and the taking of it. The caller offers at most one run per key.
-- A run without a limit holds a number that nobody else can have and nobody counts (below 1); it is there for the lock.
-- ?1 ids as a JSON array, ?2 worker id, ?3 incarnation, ?4 lease as a modifier ('+15.000 seconds')
UPDATE task_runs SET
    status = 'RUNNING', slot_no = admitted.slot_no, epoch = epoch + 1, attempts = attempts + 1,
    started_at = COALESCE(started_at, strftime('%Y-%m-%d %H:%M:%f', 'now')),
    last_attempted_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
    leased_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?4), leased_by = ?2, incarnation = ?3,
    worker_ids = json_insert(worker_ids, '$[#]', ?2),
    dedup = CASE dedup WHEN 1 THEN 0 ELSE dedup END
  FROM (
    SELECT c.result_id AS id, CASE WHEN c.concurrency_key IS NULL THEN -(c.result_id % 2147483647) ELSE (
            SELECT MIN(s.slot_no) FROM (
                SELECT 1 AS slot_no UNION ALL
                SELECT x.slot_no + 1 FROM task_runs x
                 WHERE x.concurrency_key = c.concurrency_key AND x.concurrency_key <> '' AND x.slot_no > 0 AND x.status = 'RUNNING') s
             WHERE NOT EXISTS (SELECT 1 FROM task_runs y
                WHERE y.concurrency_key = c.concurrency_key AND y.concurrency_key <> '' AND y.slot_no = s.slot_no AND y.status = 'RUNNING')) END AS slot_no
      FROM (SELECT r.result_id, NULLIF(r.lock_key, '') AS lock_key, r.concurrency_limit,
                   CASE WHEN r.concurrency_limit > 0 THEN NULLIF(r.concurrency_key, '') END AS concurrency_key
              FROM json_each(?1) j JOIN task_runs r ON r.result_id = j.value WHERE r.status = 'READY' AND r.gate = 2) c
     WHERE (c.lock_key IS NULL OR NOT EXISTS (
            SELECT 1 FROM task_runs x WHERE x.lock_key = c.lock_key AND x.lock_key <> '' AND x.slot_no IS NOT NULL AND x.status = 'RUNNING'))
       AND (c.concurrency_key IS NULL OR c.concurrency_limit > (
            SELECT count(*) FROM task_runs x
             WHERE x.concurrency_key = c.concurrency_key AND x.concurrency_key <> '' AND x.slot_no > 0 AND x.status = 'RUNNING'))
  ) AS admitted
 WHERE task_runs.result_id = admitted.id
RETURNING result_id, epoch, attempts, max_attempts, crash_count, timeout_seconds, task_path, queue_name, backend_alias,
    spec_json AS spec, worker_ids, errors_json AS errors, metadata_json AS metadata, enqueued_at, started_at,
    last_attempted_at, claim_key, COALESCE(expires_at <= strftime('%Y-%m-%d %H:%M:%f', 'now'), 0) AS expired
