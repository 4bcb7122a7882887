"""The benchmark's Django site. REPROQ_BENCH_DATABASE is its database, as JSON; the worker's site has the same
settings.
"""

import json
import os

SECRET_KEY = "bench"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "reproq_django"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": json.loads(os.environ["REPROQ_BENCH_DATABASE"])}
TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend"}}
