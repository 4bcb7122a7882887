-- Every READY run's place in line, after the weight of priority has changed.
UPDATE task_runs SET claim_key = reproq_claim_key(GREATEST(run_after, enqueued_at), priority) WHERE status = 'READY'
