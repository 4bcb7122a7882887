-- A workflow is over, or is not any more.
-- $1 ids, $2 states
UPDATE workflow_runs w SET status = e.status, updated_at = clock_timestamp(),
    finished_at = CASE WHEN e.status <> 'RUNNING' THEN clock_timestamp() END
  FROM unnest($1::uuid[], $2::text[]) AS e (workflow_id, status) WHERE w.workflow_id = e.workflow_id
