-- One step through the table by primary key, so that its cost is known whatever matches. A run that somebody holds is left
-- for another day.
-- $1 after this id, $2 how many to look at, $3 states, $4 date, $5 seconds, $6 how many to delete, $7 only count
WITH slice AS MATERIALIZED (
    SELECT r.result_id, r.status, r.concurrency_key, r.rate_key, r.workflow_id, r.step,
           CASE $4 WHEN 'finished_at' THEN r.finished_at WHEN 'updated_at' THEN r.updated_at WHEN 'enqueued_at' THEN r.enqueued_at
                   WHEN 'started_at' THEN r.started_at ELSE r.expires_at END AS date
      FROM task_runs r WHERE r.result_id > $1 ORDER BY r.result_id LIMIT $2
), old AS MATERIALIZED (
    SELECT s.result_id FROM slice s
     WHERE s.status = ANY ($3::text[]) AND s.status <> 'RUNNING' AND s.date <= clock_timestamp() - make_interval(secs => $5)
       -- Of what has ended in a workflow that goes on, the results may be asked for.
       AND NOT (s.step IS NOT NULL AND s.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') AND EXISTS (
            SELECT FROM workflow_runs w WHERE w.workflow_id = s.workflow_id AND w.status = 'RUNNING'))
     ORDER BY s.result_id LIMIT $6
), free AS MATERIALIZED (
    SELECT r.result_id FROM old JOIN task_runs r USING (result_id)
     WHERE NOT $7 AND r.status = ANY ($3::text[]) AND r.status <> 'RUNNING'
     ORDER BY r.result_id FOR UPDATE OF r SKIP LOCKED
), deleted AS (
    DELETE FROM task_runs r USING free WHERE r.result_id = free.result_id AND r.status <> 'RUNNING' RETURNING 1
)
SELECT (SELECT max(result_id) FROM slice) AS last_id,
       CASE WHEN $7 THEN (SELECT count(*) FROM old) ELSE (SELECT count(*) FROM deleted) END AS pruned,
       (SELECT json_agg(DISTINCT k.key)::text FROM slice s, unnest(ARRAY['concurrency:' || s.concurrency_key, s.rate_key]) AS k (key)
         WHERE s.status IN ('READY', 'RUNNING', 'WAITING') AND k.key IS NOT NULL) AS keys_in_use
