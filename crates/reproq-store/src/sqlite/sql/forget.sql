-- ?1 incarnation
DELETE FROM reproq_workers WHERE incarnation = ?1
