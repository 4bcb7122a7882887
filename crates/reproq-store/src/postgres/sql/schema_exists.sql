SELECT to_regclass('reproq_meta') IS NOT NULL
