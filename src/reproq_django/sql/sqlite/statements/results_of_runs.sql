-- How runs have ended, and what they have returned, as text: what the arguments of a run of the same workflow want to know.
-- ids: a JSON array.
SELECT result_id, status, return_json FROM task_runs WHERE result_id IN (SELECT value FROM json_each(%(ids)s))
