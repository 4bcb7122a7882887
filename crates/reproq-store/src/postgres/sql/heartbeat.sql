-- One statement per worker and beat: renews the leases that are a third gone, says what the worker owns and which of it
-- somebody wants cancelled. leased_until is in no index, so this is a heap-only update.
-- $1 incarnation, $2 worker id, $3 lease in seconds
WITH renewed AS (
    UPDATE task_runs SET leased_until = clock_timestamp() + make_interval(secs => $3)
     WHERE incarnation = $1 AND status = 'RUNNING' AND leased_until < clock_timestamp() + make_interval(secs => $3 * 2 / 3)
), seen AS (
    UPDATE reproq_workers SET last_seen_at = clock_timestamp() WHERE worker_id = $2 AND incarnation = $1
)
SELECT result_id, epoch, cancel_requested FROM task_runs WHERE incarnation = $1 AND status = 'RUNNING'
