-- Counts. Whom a step has failed for stays while it is bad.
-- ?1 a JSON array of arrays: id, step, ended, of these badly, the first of them
UPDATE reproq_workflow_steps SET pending = pending - (e.value ->> 2), failed = failed + (e.value ->> 3),
    culprit = CASE WHEN failed + (e.value ->> 3) > 0 THEN COALESCE(culprit, e.value ->> 4) END
  FROM json_each(?1) e WHERE workflow_id = e.value ->> 0 AND step = e.value ->> 1
RETURNING workflow_id, step, pending, failed, culprit
