-- Puts runs with the keyed ones, so that they stand in nobody's way: each run is moved once, whenever it was enqueued and by
-- whom.
-- ?1 runs as a JSON array
UPDATE task_runs SET gate = 2, visit_key = lane.visit_key
  FROM reproq_lanes AS lane
 WHERE task_runs.result_id IN (SELECT value FROM json_each(?1)) AND status = 'READY' AND gate = 0 AND lane.result_id = task_runs.result_id
