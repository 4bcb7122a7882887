-- Enqueue: up to 1,000 runs in one round trip. Answers with the position of each run that was inserted; a position that is missing is
-- a duplicate. The parameters are JSON texts, see 35_enqueue.sql.
SELECT place AS position, run_id AS result_id, since AS enqueued_at
  FROM reproq_insert_runs(%(specs)s::json, %(shared)s::json, %(runs)s::json)
