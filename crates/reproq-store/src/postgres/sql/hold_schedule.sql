-- Takes a schedule for this transaction, unless somebody else has it: that one will see to it.
-- $1 name
SELECT TRUE FROM periodic_tasks WHERE name = $1 FOR NO KEY UPDATE SKIP LOCKED
