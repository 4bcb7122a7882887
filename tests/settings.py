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
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.messages",
    "django.contrib.sessions",
    "reproq_django",
    "testapp",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "testapp.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
}
# Nothing is made here: mypy and Django's commands import this file too.
_FILE = (
    Path(tempfile.gettempdir()) / f"reproq-test-{os.environ.setdefault('REPROQ_TEST_RUN', str(os.getpid()))}"
)
DATABASES = {
    "default": {**_SQLITE, "NAME": f"{_FILE}.sqlite3", "TEST": {"NAME": f"{_FILE}-tests.sqlite3"}},
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
