-- Renews the leases that are a third gone.
-- ?1 incarnation, ?2 lease as a modifier, ?3 two thirds of it
UPDATE task_runs SET leased_until = strftime('%Y-%m-%d %H:%M:%f', 'now', ?2)
 WHERE incarnation = ?1 AND status = 'RUNNING' AND leased_until < strftime('%Y-%m-%d %H:%M:%f', 'now', ?3)
