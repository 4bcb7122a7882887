-- What has become of members of workflows: taken away to be counted, the oldest first.
-- ?1 ids of workflows as a JSON array, ?2 limit
DELETE FROM reproq_workflow_events WHERE event_id IN (
    SELECT e.event_id FROM json_each(?1) w CROSS JOIN reproq_workflow_events e ON e.workflow_id = w.value
     ORDER BY e.event_id LIMIT ?2)
RETURNING event_id, workflow_id, step, result_id, ended, failed
