"""How a running task is asked to stop: a signal raises an exception in its code.

SIGINT is the worker's: it raises ``TaskCancelled``, once per run. SIGALRM is this process's own timer for
tasks with a ``soft_timeout``: it raises ``SoftTimeout``, once, and once more when the task has extended its
time since.

The worker sends its signal only while it waits for the run's answer, again and again until that comes, and it
sends no other run before. A signal names no run, so it counts during the task's call and is ignored at any
other time: a late one must hit neither the next run nor this process between two runs.
"""

from __future__ import annotations

# The bare ones of the calls that each run or each child makes: the public ones wrap their answers in enums.
import _signal  # type: ignore[import-not-found]
import signal
import threading
from collections.abc import Callable
from typing import Any

from reproq_django.errors import SoftTimeout, TaskCancelled, TaskInterrupted

MESSAGE = "the run was cancelled"

#: How the task that is being called is stopped; None: none is.
_stop: Callable[[TaskInterrupted], None] | None = None
_happened = False
_cancelled = False
#: The soft timeout that is running: its length in seconds, and how long it comes before the hard one.
_soft: tuple[float, float] | None = None
#: How deep the main thread is in calls that must not be torn, and what waits for their end.
_held = 0
_waiting: list[TaskInterrupted] = []


def install() -> None:
    """Make SIGINT ours for the next run. Called before each: a task may have left a handler of its own."""
    global _happened, _cancelled
    _happened = _cancelled = False
    if _signal.getsignal(signal.SIGINT) is not _on_signal:
        _signal.signal(signal.SIGINT, _on_signal)


def install_timer() -> None:
    """Make SIGALRM ours. For good: a signal that comes late must find a handler."""
    if hasattr(signal, "SIGALRM") and _signal.getsignal(signal.SIGALRM) is not _on_signal:
        _signal.signal(signal.SIGALRM, _on_signal)


def happened() -> bool:
    """Whether the task has been interrupted, whatever it made of that."""
    return _happened


def call(
    function: Callable[..., Any],
    args: list[Any],
    kwargs: dict[str, Any],
    soft: tuple[float, float] | None = None,
) -> Any:
    """Call ``function``; an interruption raises its exception where the function's code is.

    Nothing is raised after this has returned or raised.

    Args:
        soft: the soft timeout in seconds, and how many seconds later the hard one comes.
    """
    return during(_raise, soft, function, *args, **kwargs)


def during(
    stop: Callable[[TaskInterrupted], None],
    soft: tuple[float, float] | None,
    function: Callable[..., Any],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call ``function``; an interruption calls ``stop``, between two of its instructions."""
    global _stop
    _stop = stop
    try:
        try:
            if soft is not None:
                _arm(soft)
            return function(*args, **kwargs)
        finally:
            _stop = None
    finally:
        # Again: an interruption may have struck just before the line above, but there is none after it.
        _stop = None
        if soft is not None:
            _disarm()


def extend(seconds: float) -> None:
    """The hard timeout now ends ``seconds`` from now at the earliest: move the soft one along, if there is
    one."""
    if _soft is None or _stop is None:
        return
    left = signal.getitimer(signal.ITIMER_REAL)[0]
    moved = seconds - _soft[1]
    if moved > left:
        signal.setitimer(signal.ITIMER_REAL, moved)


def held(function: Callable[..., None], *args: Any) -> None:
    """Call ``function``; what would interrupt it does so at its end."""
    global _held
    if threading.current_thread() is not threading.main_thread():
        function(*args)  # handlers run in the main thread alone
        return
    _held += 1
    try:
        function(*args)
    finally:
        _held -= 1
        if _waiting and not _held:
            error = _waiting[-1]
            _waiting.clear()
            if _stop is not None:
                _stop(error)


def _arm(soft: tuple[float, float]) -> None:
    global _soft
    install_timer()
    _soft = soft
    signal.setitimer(signal.ITIMER_REAL, soft[0])


def _disarm() -> None:
    global _soft
    _soft = None
    signal.setitimer(signal.ITIMER_REAL, 0)


def _raise(error: TaskInterrupted) -> None:
    raise error


def _on_signal(number: int, frame: object) -> None:
    global _happened, _cancelled
    # Who has been cancelled is cleaning up, within the worker's bounds.
    if _stop is None or _cancelled:
        return
    error: TaskInterrupted
    if number == signal.SIGINT:
        _cancelled = True
        error = TaskCancelled(MESSAGE)
    elif _soft is None:
        return  # an alarm that the task has set for itself, or left behind
    else:
        error = SoftTimeout(f"the attempt has taken its soft timeout of {_soft[0]:g} s")
    _happened = True
    if _held:
        _waiting.append(error)
    else:
        _stop(error)
