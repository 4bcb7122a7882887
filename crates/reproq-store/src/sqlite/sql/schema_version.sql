SELECT value FROM reproq_meta WHERE key = 'schema_version'
