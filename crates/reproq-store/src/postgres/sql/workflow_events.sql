-- What has become of members of workflows: taken away to be counted, the oldest first.
-- $1 ids of workflows, $2 limit for each
DELETE FROM reproq_workflow_events WHERE event_id IN (
    SELECT e.event_id FROM unnest($1::uuid[]) AS w (workflow_id) CROSS JOIN LATERAL (
        SELECT x.event_id FROM reproq_workflow_events x WHERE x.workflow_id = w.workflow_id ORDER BY x.event_id LIMIT $2) AS e)
RETURNING event_id, workflow_id, step, result_id, ended::int AS ended, failed::int AS failed
