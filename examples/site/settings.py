"""A site that needs nothing but Reproq: SQLite next to this file, or the PostgreSQL of ``DATABASE_URL``."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

FOLDER = Path(__file__).parent


def database(url):
    """``DATABASES["default"]`` for a postgres:// URL."""
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
    }


SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": os.environ.get("DEMO_SQLITE", FOLDER / "db.sqlite3"),
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
}
URL = os.environ.get("DATABASE_URL", "")

SECRET_KEY = "only-for-the-demo"
DEBUG = False
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "reproq_django", "shop"]
DATABASES = {"default": database(URL) if URL.startswith("postgres") else SQLITE}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

TASKS = {
    "default": {
        "BACKEND": "reproq_django.backend.ReproqBackend",
        "QUEUES": ["default"],
        # The demo enqueues the same call many times and means each of them.
        "OPTIONS": {"DEDUP_ACTIVE": False},
    },
}
