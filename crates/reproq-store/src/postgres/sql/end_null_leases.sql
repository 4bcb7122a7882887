-- A run without a lease, as another program may have left it, is nobody's: it gets one that has ended, so that it can be taken back.
UPDATE task_runs SET leased_until = clock_timestamp() - interval '1 second' WHERE status = 'RUNNING' AND leased_until IS NULL
