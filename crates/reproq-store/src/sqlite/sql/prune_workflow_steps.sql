-- The steps of what prune_workflows.sql deletes.
-- ?1 ids as a JSON array
DELETE FROM reproq_workflow_steps WHERE workflow_id IN (SELECT value FROM json_each(?1))
