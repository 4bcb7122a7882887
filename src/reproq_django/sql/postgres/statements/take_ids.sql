-- As many ids of runs as somebody wants to know before the rows are there: members of a workflow may name one another.
SELECT nextval((SELECT pg_get_serial_sequence('task_runs', 'result_id'))::regclass) FROM generate_series(1, %(count)s::int)
