-- What attempts have printed so far. Only of runs that exist, and only if there is more than before: what was looked at earlier may
-- come later.
-- ?1 the logs as a JSON array of arrays: id, epoch, attempt, chunks, bytes, dropped
INSERT INTO reproq_attempt_logs AS l (result_id, epoch, attempt, chunks, bytes, dropped)
SELECT given.value ->> 0, given.value ->> 1, given.value ->> 2, given.value ->> 3, given.value ->> 4, given.value ->> 5
  FROM json_each(?1) AS given
 WHERE EXISTS (SELECT 1 FROM task_runs r WHERE r.result_id = given.value ->> 0)
ON CONFLICT (result_id, epoch) DO UPDATE
   SET chunks = excluded.chunks, bytes = excluded.bytes, dropped = excluded.dropped, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
 WHERE l.bytes + l.dropped < excluded.bytes + excluded.dropped
