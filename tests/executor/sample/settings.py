"""Settings of the sample site; the database file comes from the test."""

import os

SECRET_KEY = "executor-tests"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "reproq_django", "sample"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SAMPLE_DATABASE", "sample.sqlite3"),
    }
}
TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend", "QUEUES": []}}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
