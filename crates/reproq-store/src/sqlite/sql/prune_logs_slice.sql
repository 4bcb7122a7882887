-- One step through the logs by primary key: old ones, and those whose run is gone.
-- ?1 after this run, ?2 and this epoch, ?3 how many to look at, ?4 age as a modifier, ?5 how many to delete
WITH slice AS MATERIALIZED (
    SELECT l.rowid AS place, l.result_id, l.epoch, l.updated_at FROM reproq_attempt_logs l
     WHERE (l.result_id, l.epoch) > (?1, ?2) ORDER BY l.result_id, l.epoch LIMIT ?3
)
SELECT (SELECT max(result_id) FROM slice) AS last_id,
       (SELECT epoch FROM slice ORDER BY result_id DESC, epoch DESC LIMIT 1) AS last_epoch,
       (SELECT json_group_array(place) FROM (
            SELECT s.place FROM slice s
             WHERE s.updated_at <= strftime('%Y-%m-%d %H:%M:%f', 'now', ?4)
                OR NOT EXISTS (SELECT 1 FROM task_runs r WHERE r.result_id = s.result_id)
             LIMIT ?5)) AS places
