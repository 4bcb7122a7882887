-- One step through the logs by primary key: old ones, and those whose run is gone.
-- $1 after this run, $2 and this epoch, $3 how many to look at, $4 seconds, $5 how many to delete, $6 only count
WITH slice AS MATERIALIZED (
    SELECT l.result_id, l.epoch, l.updated_at FROM reproq_attempt_logs l
     WHERE (l.result_id, l.epoch) > ($1, $2) ORDER BY l.result_id, l.epoch LIMIT $3
), old AS MATERIALIZED (
    SELECT s.result_id, s.epoch FROM slice s
     WHERE s.updated_at <= clock_timestamp() - make_interval(secs => $4)
        OR NOT EXISTS (SELECT 1 FROM task_runs r WHERE r.result_id = s.result_id)
     LIMIT $5
), deleted AS (
    DELETE FROM reproq_attempt_logs l USING old o
     WHERE NOT $6 AND l.result_id = o.result_id AND l.epoch = o.epoch RETURNING 1
)
SELECT (SELECT max(result_id) FROM slice) AS last_id,
       (SELECT epoch FROM slice ORDER BY result_id DESC, epoch DESC LIMIT 1) AS last_epoch,
       CASE WHEN $6 THEN (SELECT count(*) FROM old) ELSE (SELECT count(*) FROM deleted) END AS pruned
