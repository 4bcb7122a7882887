-- A workflow is over, or is not any more.
-- ?1 a JSON array of arrays: id, state
UPDATE workflow_runs SET status = e.value ->> 1, updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'),
    finished_at = CASE WHEN e.value ->> 1 <> 'RUNNING' THEN strftime('%Y-%m-%d %H:%M:%f', 'now') END
  FROM json_each(?1) e WHERE workflow_id = e.value ->> 0
