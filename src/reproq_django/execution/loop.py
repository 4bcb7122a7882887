"""Coroutine tasks: one event loop for the life of the process."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from asgiref.sync import SyncToAsync, sync_to_async

from reproq_django.errors import TaskInterrupted
from reproq_django.execution import interrupt, site

_runner: asyncio.Runner | None = None


def call(
    function: Callable[..., Coroutine[Any, Any, Any]],
    args: list[Any],
    kwargs: dict[str, Any],
    soft: tuple[float, float] | None = None,
) -> Any:
    """Run ``function(*args, **kwargs)`` to its end on this process's loop and return what it returns.

    What the task started with ``create_task`` and did not wait for is cancelled: it would otherwise run on,
    or not, depending on whether another coroutine follows in this child. ``soft`` is that of
    ``interrupt.call``.

    Raises:
        TaskInterrupted: the task was to stop, and the coroutine has let its ``CancelledError`` pass.
    """
    global _runner
    if _runner is None:
        _runner = asyncio.Runner()
    interruption = _Interruption(_runner.get_loop())
    coroutine = _supervised(function, args, kwargs, interruption)
    try:
        # In a context of its own: the runner's is shared by all coroutines that it runs.
        return interrupt.during(
            interruption.stop, soft, _runner.run, coroutine, context=contextvars.copy_context()
        )
    except asyncio.CancelledError as error:
        if interruption.error is None:
            raise
        raise interruption.error from error


class _Interruption:
    """Cancels the coroutine instead of raising inside the loop, whose own code must not be torn."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.error: TaskInterrupted | None = None
        self.task: asyncio.Task[Any] | None = None
        self._loop = loop

    def stop(self, error: TaskInterrupted) -> None:
        self.error = error
        # Wakes the loop, too: a signal does not end its wait.
        self._loop.call_soon_threadsafe(self.cancel)

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel(self.error)


async def _supervised(
    function: Callable[..., Coroutine[Any, Any, Any]],
    args: list[Any],
    kwargs: dict[str, Any],
    interruption: _Interruption,
) -> Any:
    interruption.task = asyncio.current_task()
    if interruption.error is not None:
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


def idle_threads() -> set[threading.Thread]:
    """The threads that asgiref and this process's loop keep for later calls, and that wait for one now."""
    pools: list[Any] = [SyncToAsync.single_thread_executor]
    if _runner is not None:
        pools.append(getattr(_runner.get_loop(), "_default_executor", None))
    found: set[threading.Thread] = set()
    for pool in pools:
        # A pool counts those of its threads that wait.
        if isinstance(pool, ThreadPoolExecutor) and pool._idle_semaphore._value >= len(pool._threads):
            found |= pool._threads
    return found


def stop() -> None:
    """Close the loop at the end of the process."""
    global _runner
    if _runner is not None:
        if threading.active_count() > 1:
            _runner.run(sync_to_async(site.close_connections, thread_sensitive=True)())
        _runner.close()
        _runner = None
