"""Coroutine tasks: one event loop for the life of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import sync_to_async

from reproq_django.errors import TaskCancelled
from reproq_django.execution import interrupt, site

_runner: asyncio.Runner | None = None


def call(function: Callable[..., Coroutine[Any, Any, Any]], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Run ``function(*args, **kwargs)`` to its end on this process's loop and return what it returns.

    What the task started with ``create_task`` and did not wait for is cancelled: it would otherwise run on,
    or not, depending on whether another coroutine follows in this child.

    Raises:
        TaskCancelled: the run was cancelled, and the coroutine has let its ``CancelledError`` pass.
    """
    global _runner
    if _runner is None:
        _runner = asyncio.Runner()
    interruption = _Interruption(_runner.get_loop())
    try:
        return interrupt.during(
            interruption.stop, _runner.run, _supervised(function, args, kwargs, interruption)
        )
    except asyncio.CancelledError as error:
        if not interruption.asked:
            raise
        raise TaskCancelled(interrupt.MESSAGE) from error


class _Interruption:
    """Cancels the coroutine instead of raising inside the loop, whose own code must not be torn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.asked = False
        self.task: asyncio.Task[Any] | None = None
        self._loop = loop

    def stop(self) -> None:
        self.asked = True
        # Wakes the loop, too: a signal does not end its wait.
        self._loop.call_soon_threadsafe(self.cancel)

    def cancel(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            task.cancel()


async def _supervised(
    function: Callable[..., Coroutine[Any, Any, Any]],
    args: list[Any],
    kwargs: dict[str, Any],
    interruption: _Interruption,
) -> Any:
    interruption.task = asyncio.current_task()
    if interruption.asked:
        interruption.cancel()
    try:
        return await function(*args, **kwargs)
    finally:
        interruption.task = None
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
