"""A module whose import does not end where the site works."""

import os
import time

from reproq_django import task

if "REPROQ_WITNESS" in os.environ:
    time.sleep(120)


@task(max_attempts=1, timeout=1)
def is_out_of_reach():
    pass
