-- Writes ticks and answers with those that are new, and the ids that their runs are to have. One that has been written before (an
-- operator has put the schedule's time back) stays. The newest are kept, and those whose run has not ended if the schedule asks for it.
-- $1 name, $2 times, $3 states, $4 counts, $5 last missed, $6 reasons, $7 how many to keep, $8 keep those whose run has not ended
WITH trimmed AS (
    DELETE FROM periodic_runs p
     WHERE p.name = $1
       AND p.scheduled_at < (SELECT scheduled_at FROM periodic_runs WHERE name = $1 ORDER BY scheduled_at DESC OFFSET $7 - 1 LIMIT 1)
       AND NOT ($8 AND EXISTS (SELECT FROM task_runs r
                                WHERE r.result_id = p.result_id AND r.status IN ('READY', 'WAITING', 'RUNNING')))
), given AS MATERIALIZED (
    SELECT * FROM unnest($2::timestamptz[], $3::text[], $4::int[], $5::timestamptz[], $6::text[])
        AS given (scheduled_at, state, count, missed_until, reason)
)
INSERT INTO periodic_runs (name, scheduled_at, state, result_id, count, missed_until, reason)
SELECT $1, scheduled_at, state,
       CASE WHEN state IN ('enqueued', 'manual') THEN nextval((SELECT pg_get_serial_sequence('task_runs', 'result_id'))::regclass) END,
       count, missed_until, reason
  FROM given ORDER BY scheduled_at
ON CONFLICT DO NOTHING
RETURNING (extract(epoch FROM scheduled_at) * 1000000)::bigint AS scheduled_at, result_id
