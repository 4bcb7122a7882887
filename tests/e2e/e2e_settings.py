"""The site as the workers of the e2e tests see it: one database, named by REPROQ_E2E_DATABASE."""

import json
import os
import threading
import time

SECRET_KEY = "test"
USE_TZ = True
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "reproq_django", "testapp"]
# A test may bring an app of its own.
INSTALLED_APPS += os.environ.get("REPROQ_E2E_APPS", "").split()
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": json.loads(os.environ["REPROQ_E2E_DATABASE"])}
TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend", "QUEUES": ["default", "mail"]}}

if os.environ.get("REPROQ_E2E_THREAD"):
    # What makes a site unfit to be forked.
    threading.Thread(target=time.sleep, args=(3600,), name="at-import", daemon=True).start()
