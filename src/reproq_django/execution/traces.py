"""What a task has left behind in its process that the next one would notice.

A child that is not as it was before its first task answers and exits: a fresh one costs milliseconds, a task
that runs in another one's leavings costs somebody an evening. It is compared after each task, so what is
compared has to be cheap: about 3 us in all.
"""

from __future__ import annotations

# With an underscore, the bare functions: the public ones wrap each answer in an enum, which takes longer than
# all else here.
import _locale
import _signal  # type: ignore[import-not-found]
import _socket
import _thread
import gc
import os
import signal
import sys
import threading
import time
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
        self._thread_count = _thread._count()

    def left(self) -> str | None:
        """What the last task has left at work, in words; None when there is nothing.

        Processes that it has started and not waited for are killed: they would work on without a run.
        """
        # First, and whatever else is found: nothing of a run may go on after its answer.
        if killed := descendants.kill_all():
            return f"it has left {killed} running process{'es' if killed > 1 else ''}, now killed"
        if _thread._count() != self._thread_count and (names := self._threads_left()):
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
            hidden = _thread._count() - (len(living) - 1)
            if hidden > max(self._thread_count - (len(self._threads) - 1), 0):
                names.append(f"{hidden} without a name")
            if not names or time.monotonic() > deadline:
                return ", ".join(names)
            time.sleep(0.001)


class Traces:
    """Remembers the process as it is when this is made."""

    def __init__(self) -> None:
        self._environment = dict(os.environ)
        self._raw_environment = dict(_raw_environment())
        self._folder = _folder()
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._handlers = [_signal.getsignal(number) for number in _SIGNALS]
        self._blocked = _signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._locale = _locale.setlocale(_locale.LC_ALL, None)
        self._streams = (sys.stdout, sys.stderr)
        self._recursion_limit = sys.getrecursionlimit()
        self._hooks = (sys.gettrace(), sys.getprofile())
        self._gc = gc.isenabled()
        self._socket_timeout = _socket.getdefaulttimeout()
        self._company = Company()

    def left(self) -> str | None:
        """What the last task has left behind, in words; None when the process is as it was."""
        if (company := self._company.left()) is not None:
            return company
        if (
            (sys.stdout, sys.stderr) != self._streams
            or sys.stdout.closed
            or sys.stderr.closed
            or sys.getrecursionlimit() != self._recursion_limit
            or (sys.gettrace(), sys.getprofile()) != self._hooks
            or gc.isenabled() is not self._gc
            or _socket.getdefaulttimeout() != self._socket_timeout
        ):
            return self._changed_in_python()
        if os.umask(self._umask) != self._umask:
            return "it has changed the umask"
        if [_signal.getsignal(number) for number in _SIGNALS] != self._handlers:
            return "it has changed a signal handler"
        # A blocked SIGINT would keep the next run from hearing that it is cancelled.
        if _signal.pthread_sigmask(signal.SIG_BLOCK, ()) != self._blocked:
            return "it has blocked signals"
        if _raw_environment() != self._raw_environment:
            return f"it has changed the environment: {', '.join(self._variables())}"
        if _locale.setlocale(_locale.LC_ALL, None) != self._locale:
            return "it has changed the locale"
        if _folder() != self._folder:
            return "it has changed the working directory"
        return None

    def _changed_in_python(self) -> str:
        if (sys.stdout, sys.stderr) != self._streams:
            return "it has replaced sys.stdout or sys.stderr"
        if sys.stdout.closed or sys.stderr.closed:
            return "it has closed sys.stdout or sys.stderr"
        if sys.getrecursionlimit() != self._recursion_limit:
            return "it has changed the recursion limit"
        if (sys.gettrace(), sys.getprofile()) != self._hooks:
            return "it has set a trace or profile function"
        if gc.isenabled() is not self._gc:
            return "it has switched the garbage collector"
        return "it has changed the default timeout of sockets"

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


def _folder() -> bytes | None:
    try:
        return os.getcwdb()
    except OSError:  # somebody has removed it
        return None


def _raw_environment() -> dict[bytes, bytes]:
    """The environment as Python keeps it: decoding it would take longer than comparing it."""
    return os.environ._data  # type: ignore[attr-defined,no-any-return]
