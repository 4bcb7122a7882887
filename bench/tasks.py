"""The tasks that are measured. Their argument only makes each call another one, so that none is taken for a
twin.
"""

import asyncio
import os
import time

from django.tasks import task

REST_SECONDS = 0.02


@task
def noop(number: int) -> None:
    """Do nothing."""


@task
def started_at(number: int) -> int:
    """When this task's own code began, nanoseconds since the epoch."""
    return time.time_ns()


@task
def client_call(client: int, number: int) -> None:
    """Do nothing, for one of several clients."""


@task
def rest(number: int) -> None:
    """Keep a slot, and no processor."""
    time.sleep(REST_SECONDS)


@task
async def rest_async(number: int, seconds: float) -> int:
    """Wait beside others; says in which process."""
    await asyncio.sleep(seconds)
    return os.getpid()


_kept: list[bytearray] = []


@task
def leak(number: int, mebibytes: int, seconds: float) -> int:
    """Fill memory and keep it, and wait for something; says in which process."""
    time.sleep(seconds)
    _kept.append(bytearray(b"x") * (mebibytes << 20))
    return os.getpid()
