"""The tasks that are measured. Their argument only makes each call another one, so that none is taken for a
twin.
"""

import time

from django.tasks import task


@task
def noop(number: int) -> None:
    """Do nothing."""


@task
def started_at(number: int) -> int:
    """When this task's own code began, nanoseconds since the epoch."""
    return time.time_ns()
