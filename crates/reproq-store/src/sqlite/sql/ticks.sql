-- What the newest ticks of a schedule have led to.
-- ?1 name, ?2 how many
SELECT p.scheduled_at, p.state, p.result_id, p.count, p.missed_until, p.reason, r.status AS status, r.last_error
  FROM periodic_runs p LEFT JOIN task_runs r ON r.result_id = p.result_id
 WHERE p.name = ?1 ORDER BY p.scheduled_at DESC LIMIT ?2
