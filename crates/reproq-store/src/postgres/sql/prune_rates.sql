-- The state of rates that the code states, full again for a day: without a row they are as full. Checked again on the row
-- itself, which a claim may just have charged.
-- $1 limit
DELETE FROM rate_limits WHERE stated AND COALESCE(tat, 0) < (extract(epoch FROM clock_timestamp() - interval '1 day') * 1000000)::bigint
   AND key IN (
    SELECT r.key FROM rate_limits r
     WHERE r.stated AND COALESCE(r.tat, 0) < (extract(epoch FROM clock_timestamp() - interval '1 day') * 1000000)::bigint LIMIT $1)
