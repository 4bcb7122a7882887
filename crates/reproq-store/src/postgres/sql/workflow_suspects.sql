-- Unfinished workflows behind $1, and which of them, quiet and all events counted, are not what their runs say: another number of
-- unended runs in a step, something that waits for a step that is decided, or a last step that is over.
-- $1 after this id, $2 seconds of quiet, $3 limit
WITH slice AS MATERIALIZED (
    SELECT w.workflow_id, w.policy, w.final_step, w.updated_at FROM workflow_runs w
     WHERE w.status = 'RUNNING' AND w.workflow_id > $1 ORDER BY w.workflow_id LIMIT $3
)
SELECT w.workflow_id, w.updated_at <= clock_timestamp() - make_interval(secs => $2)
        AND NOT EXISTS (SELECT FROM reproq_workflow_events e WHERE e.workflow_id = w.workflow_id)
        AND EXISTS (SELECT FROM reproq_workflow_steps s WHERE s.workflow_id = w.workflow_id)
        AND (EXISTS (
                SELECT FROM (
                    SELECT s.step, s.pending AS counted FROM reproq_workflow_steps s WHERE s.workflow_id = w.workflow_id
                    UNION ALL
                    SELECT r.step, -1 FROM task_runs r WHERE r.workflow_id = w.workflow_id AND r.step IS NOT NULL
                       AND r.status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')) AS both_ways
                 GROUP BY step HAVING sum(counted) <> 0)
            OR EXISTS (
                SELECT FROM reproq_workflow_steps s WHERE s.workflow_id = w.workflow_id
                   AND (s.pending <= 0 OR (s.failed > 0 AND w.policy <> 'continue')) AND (s.step = w.final_step AND s.pending <= 0 OR EXISTS (
                    SELECT FROM task_runs r WHERE r.workflow_id = s.workflow_id AND r.after_step = s.step AND r.status = 'WAITING'))))
       AS is_wrong
  FROM slice w ORDER BY w.workflow_id
