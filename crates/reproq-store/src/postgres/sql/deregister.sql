-- $1 worker id, $2 incarnation
DELETE FROM reproq_workers WHERE worker_id = $1 AND incarnation = $2
