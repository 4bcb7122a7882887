-- What a run's attempts have printed, behind a place; without any, one row that tells of the run alone.
-- ?1 id, ?2 only of this attempt, ?3 epoch and ?4 bytes that have been read
SELECT r.status, r.attempts AS attempts_so_far, r.logs_uri, l.epoch, l.attempt, l.chunks, l.bytes, l.dropped
  FROM task_runs r LEFT JOIN reproq_attempt_logs l
    ON l.result_id = r.result_id AND (?2 IS NULL OR l.attempt = ?2)
   AND (l.epoch > ?3 OR (l.epoch = ?3 AND l.bytes + l.dropped > ?4))
 WHERE r.result_id = ?1
 ORDER BY l.epoch
