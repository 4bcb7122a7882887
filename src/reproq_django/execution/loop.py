"""Coroutine tasks: one event loop for the life of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import sync_to_async

from reproq_django.execution import site

_runner: asyncio.Runner | None = None


def call(function: Callable[..., Coroutine[Any, Any, Any]], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Run ``function(*args, **kwargs)`` to its end on this process's loop and return what it returns.

    What the task started with ``create_task`` and did not wait for is cancelled: it would otherwise run on,
    or not, depending on whether another coroutine follows in this child.
    """
    global _runner
    if _runner is None:
        _runner = asyncio.Runner()
    return _runner.run(_supervised(function, args, kwargs))


async def _supervised(
    function: Callable[..., Coroutine[Any, Any, Any]], args: list[Any], kwargs: dict[str, Any]
) -> Any:
    try:
        return await function(*args, **kwargs)
    finally:
        strays = asyncio.all_tasks() - {asyncio.current_task()}
        for stray in strays:
            stray.cancel()
        if strays:
            await asyncio.gather(*strays, return_exceptions=True)


def tidy_threads() -> None:
    """Tidy the connections of asynchronous ORM calls: they live in asgiref's thread, not in this one."""
    if _runner is not None and threading.active_count() > 1:
        _runner.run(sync_to_async(site.tidy_connections, thread_sensitive=True)())


def stop() -> None:
    """Close the loop at the end of the process."""
    global _runner
    if _runner is not None:
        if threading.active_count() > 1:
            _runner.run(sync_to_async(site.close_connections, thread_sensitive=True)())
        _runner.close()
        _runner = None
