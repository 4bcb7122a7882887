"""``python -m bench``: sets up Django, then everything is in ``plan``."""

import json
import os
import sys

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "bench.site_settings"
# This process reaches the databases of its sites through an alias of its own, never through the default one.
os.environ["REPROQ_BENCH_DATABASE"] = json.dumps({"ENGINE": "django.db.backends.dummy"})

if __name__ == "__main__":
    django.setup()
    from bench import plan

    sys.exit(plan.main())
