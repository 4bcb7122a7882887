-- Workflows of which something has not been counted, each once, from ?1 on: a loose scan, so that a workflow with many events hides
-- no other.
-- ?1 id to begin at, ?2 limit
WITH RECURSIVE found (workflow_id) AS (
    SELECT (SELECT e.workflow_id FROM reproq_workflow_events e WHERE e.workflow_id >= ?1 ORDER BY e.workflow_id LIMIT 1)
    UNION ALL
    SELECT (SELECT e.workflow_id FROM reproq_workflow_events e WHERE e.workflow_id > f.workflow_id ORDER BY e.workflow_id LIMIT 1)
      FROM found f WHERE f.workflow_id IS NOT NULL
)
SELECT workflow_id FROM found WHERE workflow_id IS NOT NULL LIMIT ?2
