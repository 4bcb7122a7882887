-- What attempts have printed so far. Only of runs that exist, and only if there is more than before: what was looked at earlier may
-- come later.
-- $1 ids, $2 epochs, $3 attempts, $4 chunks, $5 bytes, $6 dropped
INSERT INTO reproq_attempt_logs AS l (result_id, epoch, attempt, chunks, bytes, dropped)
SELECT given.* FROM unnest($1::bigint[], $2::int[], $3::int[], $4::text[], $5::bigint[], $6::bigint[])
    AS given (result_id, epoch, attempt, chunks, bytes, dropped)
 WHERE EXISTS (SELECT 1 FROM task_runs r WHERE r.result_id = given.result_id)
ON CONFLICT (result_id, epoch) DO UPDATE
   SET chunks = EXCLUDED.chunks, bytes = EXCLUDED.bytes, dropped = EXCLUDED.dropped, updated_at = clock_timestamp()
 WHERE l.bytes + l.dropped < EXCLUDED.bytes + EXCLUDED.dropped
