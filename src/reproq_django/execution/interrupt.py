"""How a running task is asked to stop: SIGINT raises ``TaskCancelled`` in its code, once.

The worker sends the signal only while it waits for the run's answer, again and again until that comes, and it
sends no other run before. A signal names no run, so it counts during the task's call and is ignored at any
other time: a late one must hit neither the next run nor this process between two runs.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from reproq_django.errors import TaskCancelled

MESSAGE = "the run was cancelled"

#: What a signal does now. ``None``: nothing, because no task is being called, or it has been interrupted.
_stop: Callable[[], None] | None = None
_happened = False


def install() -> None:
    """Make SIGINT ours for the next run. Called before each: a task may have left a handler of its own."""
    global _happened
    _happened = False
    if signal.getsignal(signal.SIGINT) is not _on_signal:
        signal.signal(signal.SIGINT, _on_signal)


def happened() -> bool:
    """Whether the task has been interrupted, whatever it made of that."""
    return _happened


def call(function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    """Call ``function``; an interruption raises ``TaskCancelled`` where its code is.

    Nothing is raised after this has returned or raised.
    """
    return during(_raise, function, *args, **kwargs)


def during(stop: Callable[[], None], function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call ``function``; an interruption calls ``stop``, at most once, between two of its instructions."""
    global _stop
    _stop = stop
    try:
        return function(*args, **kwargs)
    finally:
        _stop = None


def _raise() -> None:
    raise TaskCancelled(MESSAGE)


def _on_signal(number: int, frame: object) -> None:
    global _stop, _happened
    stop, _stop = _stop, None
    if stop is not None:
        _happened = True
        stop()
