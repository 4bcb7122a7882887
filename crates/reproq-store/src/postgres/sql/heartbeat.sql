-- One statement per worker and beat: renews the leases that are a third gone, says what the worker owns and which of it
-- somebody wants cancelled. leased_until is in no index, so this is a heap-only update.
-- A row that somebody holds (an ending on its way, an operator's transaction) is skipped: waiting for it would let the
-- leases of all the others run out.
-- $1 incarnation, $2 worker id, $3 lease in seconds
WITH ageing AS MATERIALIZED (
    SELECT result_id FROM task_runs
     WHERE incarnation = $1 AND status = 'RUNNING' AND leased_until < clock_timestamp() + make_interval(secs => $3 * 2 / 3)
       FOR NO KEY UPDATE SKIP LOCKED
), renewed AS (
    UPDATE task_runs r SET leased_until = clock_timestamp() + make_interval(secs => $3)
      FROM ageing WHERE r.result_id = ageing.result_id
    RETURNING r.result_id, r.leased_until
), seen AS (
    UPDATE reproq_workers SET last_seen_at = clock_timestamp() WHERE worker_id = $2 AND incarnation = $1
)
SELECT r.result_id, r.epoch, r.cancel_requested,
       (extract(epoch FROM COALESCE(n.leased_until, r.leased_until) - clock_timestamp()) * 1000000)::bigint AS left_us
  FROM task_runs r LEFT JOIN renewed n ON n.result_id = r.result_id
 WHERE r.incarnation = $1 AND r.status = 'RUNNING'
