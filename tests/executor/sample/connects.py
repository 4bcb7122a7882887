"""A module that queries the database while it is imported."""

from django.db import connection

with connection.cursor() as cursor:
    cursor.execute("SELECT 1")
