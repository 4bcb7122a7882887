"""Two tasks to try a worker with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.tasks import DEFAULT_TASK_QUEUE_NAME, task_backends
from django.tasks.base import DEFAULT_TASK_BACKEND_ALIAS

from reproq_django.definition import task


def _task(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``task`` with a backend and a queue that the site has: this module must import everywhere."""
    aliases = list(task_backends.settings)
    if not aliases:
        return lambda function: function
    alias = DEFAULT_TASK_BACKEND_ALIAS if DEFAULT_TASK_BACKEND_ALIAS in aliases else aliases[0]
    queues = task_backends[alias].queues
    queue = DEFAULT_TASK_QUEUE_NAME if not queues or DEFAULT_TASK_QUEUE_NAME in queues else min(queues)
    return task(backend=alias, queue_name=queue, **options)


@_task()
def debug_noop_task(sleep_seconds: float = 0) -> str:
    """Sleep and succeed."""
    time.sleep(sleep_seconds)
    return "ok"


@_task(max_attempts=1)
def debug_error_task(message: str = "debug error") -> None:
    """Fail with ``message``."""
    raise RuntimeError(message)
