"""Two tasks to try a worker with."""

from __future__ import annotations

import time

from django.tasks import DEFAULT_TASK_QUEUE_NAME, task_backends
from django.tasks.base import DEFAULT_TASK_BACKEND_ALIAS

from reproq_django.definition import task


def _queue() -> str:
    """The default queue, or any other of a site that has none: this module must import everywhere."""
    queues = task_backends[DEFAULT_TASK_BACKEND_ALIAS].queues
    return DEFAULT_TASK_QUEUE_NAME if not queues or DEFAULT_TASK_QUEUE_NAME in queues else min(queues)


@task(queue_name=_queue())
def debug_noop_task(sleep_seconds: float = 0) -> str:
    """Sleep and succeed."""
    time.sleep(sleep_seconds)
    return "ok"


@task(queue_name=_queue(), max_attempts=1)
def debug_error_task(message: str = "debug error") -> None:
    """Fail with ``message``."""
    raise RuntimeError(message)
