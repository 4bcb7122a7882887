-- Workflows of which something has not been counted, each once, from $1 on: a loose scan, so that a workflow with many events hides
-- no other.
-- $1 id to begin at, $2 limit
WITH RECURSIVE found (workflow_id) AS (
    (SELECT e.workflow_id FROM reproq_workflow_events e WHERE e.workflow_id >= $1 ORDER BY e.workflow_id LIMIT 1)
    UNION ALL
    SELECT n.workflow_id FROM found f CROSS JOIN LATERAL (
        SELECT e.workflow_id FROM reproq_workflow_events e WHERE e.workflow_id > f.workflow_id ORDER BY e.workflow_id LIMIT 1) AS n
)
SELECT workflow_id FROM found LIMIT $2
