-- The policies of workflows; their rows belong to whoever writes.
-- ?1 ids as a JSON array
SELECT f.value AS workflow_id, w.policy, w.workflow_id IS NOT NULL AS known
  FROM json_each(?1) f LEFT JOIN workflow_runs w ON w.workflow_id = f.value
