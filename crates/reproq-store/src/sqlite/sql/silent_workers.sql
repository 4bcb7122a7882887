-- ?1 silence as a modifier
SELECT count(*) FROM reproq_workers WHERE last_seen_at <= strftime('%Y-%m-%d %H:%M:%f', 'now', ?1)
