-- Steps to be looked at again: 0 ends no run, -1 says that what was ended for the step's sake is to be revived.
-- ?1 a JSON array of arrays: id, step, 0 or -1
INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
SELECT value ->> 0, value ->> 1, value ->> 2, 0, 0 FROM json_each(?1)
