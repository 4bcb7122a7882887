-- $1 id
SELECT w.workflow_id, w.status, w.policy, w.expected_count, w.success_count, w.failure_count, w.final_step, w.callback_result_id,
       w.failure_result_id, (SELECT count(*) FROM (
            SELECT FROM reproq_workflow_events e WHERE e.workflow_id = w.workflow_id LIMIT 1000) AS several) AS uncounted,
       (extract(epoch FROM w.created_at) * 1000000)::bigint AS created_us,
       (extract(epoch FROM w.finished_at) * 1000000)::bigint AS finished_us,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now_us
  FROM workflow_runs w WHERE w.workflow_id = $1
