"""A module that the site can import where it enqueues, and not where it works."""

import os

from reproq_django import task

if "REPROQ_WITNESS" in os.environ:
    raise RuntimeError("this module cannot be imported")


@task(max_attempts=1)
def is_out_of_reach():
    pass
