-- Whom steps have failed for whose runs have been ended for the sake of another.
-- ?1 a JSON array of arrays: id, step, culprit
UPDATE reproq_workflow_steps SET culprit = e.value ->> 2
  FROM json_each(?1) e WHERE workflow_id = e.value ->> 0 AND step = e.value ->> 1 AND culprit IS NULL
