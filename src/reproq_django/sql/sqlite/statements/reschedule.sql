-- Moves the time of a run that has not started: to `at`, else to so many seconds from now. No row in the answer: there is no
-- such run, or it has started; see active_twins.sql for its state. Its lane is the trigger's.
UPDATE task_runs SET
    run_after = COALESCE(%(at)s, strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now', CAST(%(seconds)s AS REAL) || ' seconds')),
    updated_at = strftime('%%Y-%%m-%%d %%H:%%M:%%f', 'now')
 WHERE result_id = %(id)s AND status IN ('READY', 'WAITING')
RETURNING status, CAST(round(unixepoch(run_after, 'subsec') * 1000) AS INTEGER) * 1000 AS run_after_us
