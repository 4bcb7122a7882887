-- $1 seconds of silence, $2 only count
WITH gone AS (
    DELETE FROM reproq_workers WHERE NOT $2 AND last_seen_at <= clock_timestamp() - make_interval(secs => $1) RETURNING 1
)
SELECT CASE WHEN $2 THEN (SELECT count(*) FROM reproq_workers WHERE last_seen_at <= clock_timestamp() - make_interval(secs => $1))
       ELSE (SELECT count(*) FROM gone) END AS workers
