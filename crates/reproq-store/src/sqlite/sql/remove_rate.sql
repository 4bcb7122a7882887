-- What an operator has set. The state of a rate that the code states is not anybody's to reset.
-- ?1 key
DELETE FROM rate_limits WHERE key = ?1 AND NOT stated
