-- Enqueue: up to 1,000 runs in one round trip. Answers with an id for each, NULL for a duplicate, and when they were enqueued. For the
-- parameters see 35_enqueue.sql.
SELECT ids, since FROM reproq_insert_runs(%(specs)s::text, %(shared)s::json, %(runs)s::json)
