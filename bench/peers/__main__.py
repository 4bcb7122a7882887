"""``python -m bench.peers``: sets up Django, for the parts of ``bench`` that know our tables; then
``plan``.
"""

import json
import os
import sys

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "bench.site_settings"
# This process reaches sites' databases by other ways than Django's default one.
os.environ["REPROQ_BENCH_DATABASE"] = json.dumps({"ENGINE": "django.db.backends.dummy"})

if __name__ == "__main__":
    django.setup()
    from bench.peers import plan

    sys.exit(plan.main())
