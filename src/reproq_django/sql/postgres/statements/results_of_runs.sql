-- How runs have ended, and what they have returned, as text: what the arguments of a run of the same workflow want to know.
SELECT result_id, status, return_json::text FROM task_runs WHERE result_id = ANY (%(ids)s::bigint[])
