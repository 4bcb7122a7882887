-- What the newest ticks of a schedule have led to.
-- $1 name, $2 how many
SELECT (extract(epoch FROM p.scheduled_at) * 1000000)::bigint AS scheduled_at, p.state, p.result_id, p.count,
       (extract(epoch FROM p.missed_until) * 1000000)::bigint AS missed_until, p.reason, r.status::text AS status, r.last_error
  FROM periodic_runs p LEFT JOIN task_runs r ON r.result_id = p.result_id
 WHERE p.name = $1 ORDER BY p.scheduled_at DESC LIMIT $2
