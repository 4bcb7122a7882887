-- As many ids of runs as somebody wants to know before the rows are there: members of a workflow may name one another, and of many
-- rows that are inserted at once SQLite does not say which is which. For a transaction that has written already, so that nobody else
-- inserts a run before it does. AUTOINCREMENT too goes by whatever is greater.
WITH RECURSIVE taken (result_id) AS (
    SELECT MAX(COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'task_runs'), 0),
               COALESCE((SELECT MAX(result_id) FROM task_runs), 0)) + 1
    UNION ALL
    SELECT result_id + 1 FROM taken LIMIT %(count)s
)
SELECT result_id FROM taken
