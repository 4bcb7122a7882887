-- The queues that hold runs to claim, each once: a loose scan of both lanes' indexes, which goes from one queue to the next
-- and not over their runs. Runs that are not due are left out: their gates are opened whatever their queue.
WITH RECURSIVE plain (queue_name) AS (
    SELECT (SELECT queue_name FROM task_runs WHERE status = 'READY' AND gate = 0 ORDER BY queue_name LIMIT 1)
    UNION ALL
    SELECT (SELECT r.queue_name FROM task_runs r
             WHERE r.status = 'READY' AND r.gate = 0 AND r.queue_name > p.queue_name ORDER BY r.queue_name LIMIT 1)
      FROM plain p WHERE p.queue_name IS NOT NULL
), keyed (queue_name) AS (
    SELECT (SELECT queue_name FROM task_runs WHERE status = 'READY' AND gate = 2 ORDER BY queue_name LIMIT 1)
    UNION ALL
    SELECT (SELECT r.queue_name FROM task_runs r
             WHERE r.status = 'READY' AND r.gate = 2 AND r.queue_name > k.queue_name ORDER BY r.queue_name LIMIT 1)
      FROM keyed k WHERE k.queue_name IS NOT NULL
)
SELECT queue_name FROM plain WHERE queue_name IS NOT NULL
 UNION
SELECT queue_name FROM keyed WHERE queue_name IS NOT NULL
