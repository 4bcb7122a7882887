-- How far running attempts are, as they say.
-- ?1 a JSON array of arrays: id, epoch, progress; ?2 incarnation
UPDATE task_runs SET progress_json = json_set(json(s.value ->> 2), '$.at', strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))
  FROM json_each(?1) s
 WHERE result_id = s.value ->> 0 AND status = 'RUNNING' AND epoch = s.value ->> 1 AND +incarnation = ?2
