-- One step through the workflows: those that are over and whose runs are all gone.
-- $1 after this id, $2 how many to look at, $3 only count
WITH slice AS MATERIALIZED (
    SELECT w.workflow_id, w.status FROM workflow_runs w WHERE $1::uuid IS NULL OR w.workflow_id > $1 ORDER BY w.workflow_id LIMIT $2
), over AS MATERIALIZED (
    SELECT s.workflow_id FROM slice s WHERE s.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')
       AND NOT EXISTS (SELECT FROM task_runs r WHERE r.workflow_id = s.workflow_id)
), events AS (
    DELETE FROM reproq_workflow_events e USING over o WHERE NOT $3 AND e.workflow_id = o.workflow_id
), steps AS (
    DELETE FROM reproq_workflow_steps s USING over o WHERE NOT $3 AND s.workflow_id = o.workflow_id
), deleted AS (
    DELETE FROM workflow_runs w USING over o WHERE NOT $3 AND w.workflow_id = o.workflow_id RETURNING 1
)
SELECT (SELECT workflow_id FROM slice ORDER BY workflow_id DESC LIMIT 1) AS last_id,
       CASE WHEN $3 THEN (SELECT count(*) FROM over) ELSE (SELECT count(*) FROM deleted) END AS pruned
