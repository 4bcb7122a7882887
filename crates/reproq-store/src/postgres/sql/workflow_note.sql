-- Steps to be looked at again: 0 ends no run, -1 says that what was ended for the step's sake is to be revived.
-- $1 ids, $2 steps, $3 0 or -1
INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
SELECT n.workflow_id, n.step, n.what, 0, 0 FROM unnest($1::uuid[], $2::int[], $3::bigint[]) AS n (workflow_id, step, what)
