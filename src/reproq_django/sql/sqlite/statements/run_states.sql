-- What state each of these runs is in, in the shape of cancel_runs.sql's answer.
SELECT result_id, status AS before, status AS after FROM task_runs WHERE result_id IN (SELECT value FROM json_each(%(result_ids)s))
