"""The site's own application: a table that tasks read and write."""
