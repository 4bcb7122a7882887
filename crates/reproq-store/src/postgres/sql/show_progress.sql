-- How far running attempts are, as they say. A row that somebody holds is passed over: its next word comes soon.
-- $1 ids, $2 epochs, $3 progress, $4 incarnation
WITH said AS (
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::text[]) AS s (result_id, epoch, progress)
), taken AS MATERIALIZED (
    SELECT s.result_id, s.progress
      FROM said s CROSS JOIN LATERAL (
        SELECT x.status, x.epoch, x.incarnation FROM task_runs x
         WHERE x.result_id = s.result_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS r
     WHERE r.status = 'RUNNING' AND r.epoch = s.epoch AND r.incarnation = $4
)
UPDATE task_runs r SET progress_json = t.progress::jsonb || jsonb_build_object('at',
    to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"'))
  FROM taken t WHERE r.result_id = t.result_id
