-- One step through the workflows: those that are over and whose runs are all gone.
-- ?1 after this id, ?2 how many to look at
WITH slice AS MATERIALIZED (
    SELECT workflow_id, status FROM workflow_runs WHERE workflow_id > COALESCE(?1, '') ORDER BY workflow_id LIMIT ?2
)
SELECT (SELECT max(workflow_id) FROM slice) AS last_id,
       (SELECT json_group_array(workflow_id) FROM slice s WHERE s.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')
           AND NOT EXISTS (SELECT 1 FROM task_runs r WHERE r.workflow_id = s.workflow_id)) AS ids
