-- What has come since a workflow was found wrong is in its runs, which say how it stands.
-- ?1 id
DELETE FROM reproq_workflow_events WHERE workflow_id = ?1
