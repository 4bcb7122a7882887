"""The settings of every peer's site. REPROQ_BENCH_SITE says what is different, as JSON."""

import json
import os

SITE = json.loads(os.environ["REPROQ_BENCH_SITE"])

SECRET_KEY = "bench"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "bench.peers.notes",
    *SITE.get("apps", []),
]
DATABASES = {"default": SITE["database"]}
# As on a server: what goes wrong is said, each task is not.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
globals().update(SITE.get("settings", {}))
