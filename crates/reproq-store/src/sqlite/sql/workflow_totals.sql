-- The same for whole workflows.
-- ?1 a JSON array of arrays: id, step, ended, of these badly
UPDATE workflow_runs SET success_count = success_count + t.ended - t.failed, failure_count = failure_count + t.failed,
    updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now')
  FROM (SELECT value ->> 0 AS id, sum(value ->> 2) AS ended, sum(value ->> 3) AS failed FROM json_each(?1) GROUP BY 1) t
 WHERE workflow_id = t.id
