"""A site whose database an upgrade test has made: REPROQ_UPGRADE_DATABASE is a PostgreSQL port/name or a
file."""

import os

SECRET_KEY = "test"
USE_TZ = True
INSTALLED_APPS = ["reproq_django"]
TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend"}}
_place = os.environ["REPROQ_UPGRADE_DATABASE"]
if _place.endswith(".sqlite3"):
    _database = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": _place,
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},
    }
else:
    _port, _name = _place.split("/")
    _database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": _port,
        "NAME": _name,
        "USER": "postgres",
    }
if os.environ.get("REPROQ_UPGRADE_WITHOUT_MIGRATIONS"):
    MIGRATION_MODULES = {"reproq_django": None}
DATABASES = {"default": _database}
