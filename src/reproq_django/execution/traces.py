"""What a task has left behind in its process that the next one would notice.

A child that is not as it was before its first task answers and exits: a fresh one costs milliseconds, a task
that runs in another one's leavings costs somebody an evening. It is compared after each task, so that has to
be cheap: one tuple with all that takes a single call, compared as a whole.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

# With an underscore, the bare functions: the public ones wrap each answer in an enum, which takes longer than
# all else here.
from _locale import LC_ALL, setlocale
from _signal import SIG_BLOCK, getsignal, pthread_sigmask  # type: ignore[import-not-found]
from _socket import getdefaulttimeout
from _thread import _count as count_threads
from gc import isenabled
from os import getcwdb, umask
from sys import getprofile, getrecursionlimit, gettrace
from typing import Any

from reproq_django.execution import descendants, loop

#: Not SIGINT: that is taken back before each run.
_SIGNALS = tuple(
    getattr(signal, name)
    for name in (
        "SIGTERM",
        "SIGHUP",
        "SIGCHLD",
        "SIGPIPE",
        "SIGALRM",
        "SIGUSR1",
        "SIGUSR2",
        "SIGQUIT",
        "SIGSEGV",
        "SIGABRT",
    )
    if hasattr(signal, name)
)
#: A thread that is about to end, or to become idle, has so long to do it.
_GRACE_SECONDS = 0.05
#: Packages whose threads serve the whole process, by design and for good: they start with the first query or
#: event and wait for the next one, whichever task causes it.
_RESIDENTS = frozenset({"psycopg_pool", "sentry_sdk", "opentelemetry", "ddtrace", "newrelic", "elasticapm"})


class Company:
    """What works in this process or below it: remembers the threads that are there when this is made."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._thread_count = count_threads()

    def left(self) -> str | None:
        """What the last task has left at work, in words; None when there is nothing.

        Processes that it has started and not waited for are killed: they would work on without a run.
        """
        # First, and whatever else is found: nothing of a run may go on after its answer.
        if killed := descendants.kill_all():
            return f"it has left {killed} running process{'es' if killed > 1 else ''}, now killed"
        if count_threads() != self._thread_count and (names := self._threads_left()):
            return f"it has left a thread running: {names}"
        return None

    def _threads_left(self) -> str:
        """The names of threads that neither were there before nor wait for work of ours."""
        deadline = time.monotonic() + _GRACE_SECONDS
        while True:
            accepted = self._threads | loop.idle_threads()
            living = threading.enumerate()
            names = [thread.name for thread in living if thread not in accepted and not _resident(thread)]
            # The count leaves the main thread out; more than that were started behind threading's back.
            hidden = count_threads() - (len(living) - 1)
            if hidden > max(self._thread_count - (len(self._threads) - 1), 0):
                names.append(f"{hidden} without a name")
            if not names or time.monotonic() > deadline:
                return ", ".join(names)
            time.sleep(0.001)


#: What a difference in ``Traces._look`` means, in its order.
_DEEDS = (
    "replaced sys.stdout or sys.stderr",
    "replaced sys.stdout or sys.stderr",
    "closed sys.stdout or sys.stderr",
    "closed sys.stdout or sys.stderr",
    "changed the recursion limit",
    "set a trace or profile function",
    "set a trace or profile function",
    "switched the garbage collector",
    "changed the default timeout of sockets",
    "changed the umask",
    "changed a signal handler",
    # A blocked SIGINT would keep the next run from hearing that it is cancelled.
    "blocked signals",
    "changed the locale",
    "changed the working directory",
)


class Traces:
    """Remembers the process as it is when this is made."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._raw_environment = dict(_raw_environment())
        self._umask = umask(0o077)
        umask(self._umask)
        self._streams = (sys.stdout, sys.stderr)
        self._company = Company()
        self._before = self._look()

    def left(self) -> str | None:
        """What the last task has left behind, in words; None when the process is as it was."""
        if (company := self._company.left()) is not None:
            return company
        now = self._look()
        if now != self._before:
            return self._deed(now)
        if _raw_environment() != self._raw_environment:
            return f"it has changed the environment: {', '.join(self._variables())}"
        return None

    def _look(self) -> tuple[Any, ...]:
        stdout, stderr = self._streams
        try:
            folder = getcwdb()
        except OSError:  # somebody has removed it
            folder = None
        return (
            sys.stdout,
            sys.stderr,
            # Of those that were there before: what a task puts in their place need not know.
            stdout.closed,
            stderr.closed,
            getrecursionlimit(),
            gettrace(),
            getprofile(),
            isenabled(),
            getdefaulttimeout(),
            # Sets what was there before, and returns what was there now.
            umask(self._umask),
            list(map(getsignal, _SIGNALS)),
            pthread_sigmask(SIG_BLOCK, ()),
            setlocale(LC_ALL, None),
            folder,
        )

    def _deed(self, now: tuple[Any, ...]) -> str:
        pairs = zip(self._before, now, strict=True)
        return next(f"it has {deed}" for (was, is_), deed in zip(pairs, _DEEDS, strict=True) if was != is_)

    def _variables(self) -> list[str]:
        now = dict(os.environ)
        return sorted(
            name for name in now.keys() | self._environment if now.get(name) != self._environment.get(name)
        )


def _resident(thread: threading.Thread) -> bool:
    origins: tuple[Any, ...] = (type(thread), getattr(thread, "_target", None))
    return any(
        str(getattr(origin, "__module__", "")).partition(".")[0] in _RESIDENTS for origin in origins if origin
    )


def _raw_environment() -> dict[bytes, bytes]:
    """The environment as Python keeps it: decoding it would take longer than comparing it."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]
