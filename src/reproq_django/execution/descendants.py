"""The processes that a task has started, and theirs: found through their parents, killed one and all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from typing import NamedTuple

#: A task that forks faster than it is killed is left to what watches this process from outside.
_LONGEST_SECONDS = 2.0
_LINUX = sys.platform == "linux"
_ANY_ENDED = (os.P_ALL, 0, None, os.WEXITED | os.WNOHANG | os.WNOWAIT) if _LINUX else ()


class _Process(NamedTuple):
    pid: int
    parent: int
    started: str
    runs: bool


def kill_all() -> int:
    """Kill and reap every process below this one; returns how many were still running.

    Orphans count: they are this process's children when it has asked for them (``prctl.adopt_orphans``).
    Without any child it costs one system call. Linux only.
    """
    if not _LINUX or not _have_child():
        return 0
    killed: set[int] = set()
    deadline = time.monotonic() + _LONGEST_SECONDS
    while True:
        # Who has ended by itself has left nothing; a zombie of a task's own `Popen` is such a one.
        _reap()
        living = [process for process in _below(os.getpid()) if process.runs]
        for process in living:
            if _kill(process):
                killed.add(process.pid)
        if not _have_child() or time.monotonic() > deadline:
            return len(killed)
        time.sleep(0.0005)


def _have_child() -> bool:
    # Its one error is that there is none. Of a success Linux has not always answered with 0.
    return _waitid is not None and _waitid(*_ANY_ENDED) != -1


def _find() -> ctypes._NamedFuncPointer | None:
    if not _LINUX:
        return None
    # Not Python's: it says that there is no child by an exception, whose text the C library translates.
    # Without types for its arguments, which are C's own, it takes half as long.
    return ctypes.PyDLL(None).waitid


_waitid = _find()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0] != 0:
            pass


def _below(root: int) -> list[_Process]:
    """All processes whose parents lead to ``root``, children before grandchildren."""
    children: dict[int, list[_Process]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := _read(int(name))) is not None:
            children.setdefault(process.parent, []).append(process)
    found: list[_Process] = []
    parents = [root]
    for parent in parents:
        for process in children.get(parent, ()):
            found.append(process)
            parents.append(process.pid)
    return found


def _read(pid: int) -> _Process | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name, in parentheses, may hold anything.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return _Process(pid, int(fields[1]), fields[19].decode(), fields[0] not in (b"Z", b"X"))


def _kill(process: _Process) -> bool:
    """Kill ``process``, and no other that has got its number since."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        now = _read(process.pid)
        if now is None or now.started != process.started:
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True
