-- $1 key, $2 amount
INSERT INTO reproq_key_limits (key, amount, burst, pinned) VALUES ($1, $2, 1, TRUE)
