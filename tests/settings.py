"""The site that the tests run on: one SQLite file and one PostgreSQL cluster, both with Reproq's tables.

``tests/conftest.py`` starts the cluster; REPROQ_TEST_POSTGRES_PORT names it to child processes.
"""

import os
import tempfile
from pathlib import Path

SECRET_KEY = "test"
USE_TZ = True
TIME_ZONE = "Europe/Prague"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "reproq_django",
    "testapp",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
}
if "REPROQ_TEST_FOLDER" not in os.environ:
    # Removed when this process ends; child processes find the name in the environment.
    _own_folder = tempfile.TemporaryDirectory(prefix="reproq-test-", ignore_cleanup_errors=True)
    os.environ["REPROQ_TEST_FOLDER"] = _own_folder.name
_FOLDER = Path(os.environ["REPROQ_TEST_FOLDER"])
DATABASES = {
    "default": {**_SQLITE, "NAME": _FOLDER / "default.sqlite3", "TEST": {"NAME": _FOLDER / "test.sqlite3"}},
    "postgres": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "postgres",
        "HOST": "127.0.0.1",
        "PORT": os.environ.get("REPROQ_TEST_POSTGRES_PORT", "0"),
        "USER": "postgres",
        "TEST": {"NAME": "test_reproq"},
    },
}
TASKS = {
    "default": {
        "BACKEND": "reproq_django.backend.ReproqBackend",
        "QUEUES": ["default", "mail", "reports-eu", "reports-us"],
    }
}
