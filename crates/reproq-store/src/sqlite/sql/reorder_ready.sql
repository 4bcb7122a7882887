-- Every READY run's place in line, after the weight of priority has changed.
UPDATE task_runs SET claim_key =
    CAST((julianday(MAX(COALESCE(run_after, enqueued_at), enqueued_at)) - 2440587.5) * 86400000000.0 AS INTEGER)
    - CAST(priority * 1000000 * (SELECT CAST(value AS REAL) FROM reproq_meta WHERE key = 'priority_aging_seconds') AS INTEGER)
 WHERE status = 'READY'
