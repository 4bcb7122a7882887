-- Takes workflows for this transaction: whoever has the row counts. One that another has is passed over; it has a row and no policy.
-- $1 ids
SELECT f.workflow_id, w.policy, EXISTS (SELECT FROM workflow_runs x WHERE x.workflow_id = f.workflow_id) AS known
  FROM unnest($1::uuid[]) AS f (workflow_id) LEFT JOIN LATERAL (
    SELECT x.policy FROM workflow_runs x WHERE x.workflow_id = f.workflow_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED) AS w ON TRUE
