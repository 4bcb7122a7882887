-- Members of workflows: whoever ends one (a worker, a reclaim, a cancellation, an operator by hand), revives or deletes it, leaves an
-- event, in the same transaction. Counting the events and letting go of what waits is the workers', see ARCHITECTURE.md, "Workflows".
DROP TRIGGER IF EXISTS reproq_task_runs_workflow_event;
CREATE TRIGGER reproq_task_runs_workflow_event AFTER UPDATE OF status ON task_runs
    WHEN NEW.step IS NOT NULL AND NEW.workflow_id IS NOT NULL AND NEW.status <> OLD.status
        AND (NEW.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED') OR OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED'))
BEGIN
    INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
    VALUES (NEW.workflow_id, NEW.step, NEW.result_id,
            (NEW.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')) - (OLD.status IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')),
            (NEW.status IN ('FAILED', 'CANCELLED')) - (OLD.status IN ('FAILED', 'CANCELLED')));
END;
DROP TRIGGER IF EXISTS reproq_task_runs_workflow_loss;
CREATE TRIGGER reproq_task_runs_workflow_loss AFTER DELETE ON task_runs
    WHEN OLD.step IS NOT NULL AND OLD.workflow_id IS NOT NULL AND OLD.status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')
BEGIN
    INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
    VALUES (OLD.workflow_id, OLD.step, OLD.result_id, 1, 1);
END;

-- Chains and chords that the earlier system has left half-way become workflows as above, and go on or end: the workers look at the
-- steps that an event names. Of a chain it has the runs that wait, each for its parent (`parent_id`); of a chord a row in
-- workflow_runs, without which (its enqueue died) the callback still says for how many it waits (`wait_count`). Nothing is found the
-- second time.
CREATE TEMPORARY TABLE reproq_left (workflow_id TEXT, result_id INTEGER PRIMARY KEY, status TEXT, step INTEGER, after_step INTEGER);

INSERT INTO workflow_runs (workflow_id, callback_result_id)
    SELECT workflow_id, min(result_id) FROM task_runs
     WHERE status = 'WAITING' AND step IS NULL AND after_step IS NULL AND parent_id IS NULL AND wait_count > 1 AND workflow_id IS NOT NULL
     GROUP BY workflow_id
ON CONFLICT DO NOTHING;

-- A chord: its members are one step, its callback is another.
INSERT INTO reproq_left
WITH chord AS (
    SELECT w.workflow_id, w.callback_result_id FROM workflow_runs w
     WHERE w.final_step IS NULL AND (w.status IN ('RUNNING', 'WAITING_CALLBACK') OR EXISTS (
        SELECT 1 FROM task_runs c WHERE c.result_id = w.callback_result_id AND c.status = 'WAITING' AND c.step IS NULL))
)
SELECT h.workflow_id, r.result_id, r.status, 1, NULL
  FROM chord h JOIN task_runs r ON r.workflow_id = h.workflow_id
 WHERE r.step IS NULL AND r.result_id IS NOT h.callback_result_id
UNION ALL
SELECT h.workflow_id, r.result_id, r.status, 2, CASE r.status WHEN 'WAITING' THEN 1 END
  FROM chord h JOIN task_runs r ON r.result_id = h.callback_result_id WHERE r.step IS NULL
ON CONFLICT DO NOTHING;

-- A chain, from the run whose end is awaited: each run with successors is a step, those without are the last one. Where that run has been
-- deleted, what waited for it stands after step 0.
INSERT INTO reproq_left
WITH RECURSIVE head AS (
    SELECT DISTINCT p.result_id, FALSE AS is_orphan
      FROM task_runs c JOIN task_runs p ON p.result_id = c.parent_id
     WHERE c.status = 'WAITING' AND c.step IS NULL AND c.after_step IS NULL AND p.step IS NULL AND p.status <> 'WAITING'
    UNION ALL
    SELECT r.result_id, TRUE FROM task_runs r
     WHERE r.status = 'WAITING' AND r.step IS NULL AND r.after_step IS NULL AND r.parent_id IS NULL AND r.wait_count > 0
), chained AS (
    SELECT h.result_id, h.result_id AS head, NULL AS after, h.is_orphan FROM head h
    UNION ALL
    SELECT r.result_id, c.head, c.result_id, FALSE
      FROM chained c JOIN task_runs r ON r.parent_id = c.result_id
     WHERE r.status = 'WAITING' AND r.step IS NULL AND r.after_step IS NULL
), placed AS (
    SELECT c.*, c.result_id IN (SELECT after FROM chained WHERE after IS NOT NULL) AS is_followed FROM chained c
), named AS (
    SELECT c.head, COALESCE(min(r.workflow_id), printf('%032x', c.head)) AS workflow_id
      FROM chained c JOIN task_runs r ON r.result_id = c.result_id GROUP BY c.head
), numbered AS (
    SELECT n.workflow_id, c.result_id, c.after, c.is_orphan, sum(is_followed) OVER up_to_here AS step,
           sum(is_followed) OVER (PARTITION BY n.workflow_id) + 1 AS final, c.is_followed
      FROM placed c JOIN named n ON n.head = c.head
     WHERE NOT EXISTS (SELECT 1 FROM workflow_runs w WHERE w.workflow_id = n.workflow_id)
    WINDOW up_to_here AS (PARTITION BY n.workflow_id ORDER BY c.result_id)
)
SELECT n.workflow_id, n.result_id, r.status, CASE WHEN n.is_followed THEN n.step ELSE n.final END,
       CASE WHEN n.is_orphan THEN 0 ELSE b.step END
  FROM numbered n JOIN task_runs r ON r.result_id = n.result_id LEFT JOIN numbered b ON b.result_id = n.after WHERE TRUE
ON CONFLICT DO NOTHING;

INSERT INTO workflow_runs (workflow_id) SELECT DISTINCT workflow_id FROM reproq_left WHERE TRUE ON CONFLICT DO NOTHING;
UPDATE workflow_runs SET
    status = 'RUNNING', updated_at = strftime('%Y-%m-%d %H:%M:%f', 'now'), final_step = l.final_step,
    expected_count = l.expected_count, success_count = l.success_count, failure_count = l.failure_count
  FROM (SELECT workflow_id, max(step) AS final_step, count(*) AS expected_count,
               count(*) FILTER (WHERE status = 'SUCCESSFUL') AS success_count,
               count(*) FILTER (WHERE status IN ('FAILED', 'CANCELLED')) AS failure_count
          FROM reproq_left GROUP BY workflow_id) AS l
 WHERE workflow_runs.workflow_id = l.workflow_id;
UPDATE task_runs SET workflow_id = l.workflow_id, step = l.step, after_step = l.after_step
  FROM reproq_left AS l WHERE task_runs.result_id = l.result_id;
INSERT INTO reproq_workflow_steps (workflow_id, step, pending, failed, culprit)
    SELECT workflow_id, step, count(*) FILTER (WHERE status NOT IN ('SUCCESSFUL', 'FAILED', 'CANCELLED')),
           count(*) FILTER (WHERE status IN ('FAILED', 'CANCELLED')), min(result_id) FILTER (WHERE status IN ('FAILED', 'CANCELLED'))
      FROM reproq_left GROUP BY workflow_id, step;
-- What runs wait for that are gone has failed: had it not, they would not wait any more.
INSERT INTO reproq_workflow_steps (workflow_id, step, pending, failed)
    SELECT DISTINCT workflow_id, after_step, 0, 1 FROM reproq_left WHERE after_step IS NOT NULL
ON CONFLICT DO NOTHING;
INSERT INTO reproq_workflow_events (workflow_id, step, result_id, ended, failed)
    SELECT s.workflow_id, s.step, min(l.result_id), 0, 0
      FROM reproq_left l JOIN reproq_workflow_steps s ON s.workflow_id = l.workflow_id GROUP BY s.workflow_id, s.step;
DROP TABLE reproq_left;
