-- Cancel: what has not started ends here and now; what runs gets the wish, and its worker is told. What has ended stays.
-- The rows are locked first: where an ending is being written this waits for it, and decides on what it has left.
WITH held AS MATERIALIZED (
    SELECT result_id, status, step FROM task_runs WHERE result_id = ANY (%(result_ids)s::bigint[])
     ORDER BY result_id FOR NO KEY UPDATE
), ended AS (
    UPDATE task_runs r SET
        status = 'CANCELLED', updated_at = clock_timestamp(), finished_at = clock_timestamp(), failed_at = NULL,
        return_json = NULL, last_error = 'the run was cancelled',
        errors_json = r.errors_json || jsonb_build_array(jsonb_build_object(
            'kind', 'cancelled', 'message', 'the run was cancelled', 'status', h.status, 'attempt', r.attempts,
            'at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'))),
        leased_until = NULL, leased_by = NULL, incarnation = NULL, slot_no = NULL, cancel_requested = FALSE
      FROM held h WHERE r.result_id = h.result_id AND h.status IN ('READY', 'WAITING')
    RETURNING r.result_id
), wished AS (
    UPDATE task_runs r SET cancel_requested = TRUE, updated_at = clock_timestamp()
      FROM held h WHERE r.result_id = h.result_id AND h.status = 'RUNNING' AND NOT r.cancel_requested
    RETURNING r.result_id
), told AS (
    -- Delivered at commit. Said again for a wish that was there before: it may not have been heard. Who hears it looks after
    -- workflows, too: some may go on now that a member has ended.
    SELECT pg_notify('reproq_cancel', '')
     WHERE EXISTS (SELECT FROM held WHERE status = 'RUNNING' OR (status IN ('READY', 'WAITING') AND step IS NOT NULL))
)
-- A CTE that nothing reads is not executed, hence the count.
SELECT h.result_id, h.status AS before, CASE WHEN e.result_id IS NULL THEN h.status ELSE 'CANCELLED' END AS after,
       (SELECT count(*) FROM told) AS told
  FROM held h LEFT JOIN ended e ON e.result_id = h.result_id
 ORDER BY h.result_id
