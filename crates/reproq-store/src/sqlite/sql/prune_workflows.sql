-- What prune_workflows_slice.sql has found.
-- ?1 ids as a JSON array
DELETE FROM workflow_runs WHERE workflow_id IN (SELECT value FROM json_each(?1))
