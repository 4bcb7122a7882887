"""The task's own output: out of the protocol's way (mode ``process``), and its own run's (mode ``pool``)."""

from __future__ import annotations

import array
import contextlib
import errno
import io
import os
import select
import sys
import time

_private: list[int] = []


def claim_stdout() -> int:
    """Keep the original stdout for the envelope and send everything else that writes to stdout to stderr.

    The redirect is made on descriptors, because a task prints in more ways than ``sys.stdout``: C code and
    subprocesses write to descriptor 1. No process that a task starts, by exec or by fork, holds the private
    copy open: the worker waits for its end.

    Returns:
        The descriptor to write the envelope to.
    """
    private = os.dup(1)
    sys.stdout.flush()
    write_lines_at_once()
    os.dup2(2, 1)
    _private.append(private)
    os.register_at_fork(after_in_child=release_stdout)
    return private


def write_lines_at_once() -> None:
    """Let no line that a task prints wait in this process.

    A pipe would be written to in blocks: what a process printed before it crashed would be lost, what it
    prints while it runs could not be followed, and whatever goes around ``sys.stdout`` would come first.
    """
    # One that is closed, or of the site's own making, stays as it is.
    if isinstance(sys.stdout, io.TextIOWrapper):
        with contextlib.suppress(ValueError):
            sys.stdout.reconfigure(line_buffering=True)


def release_stdout() -> None:
    """Close the private copy: nothing more will be said."""
    while _private:
        os.close(_private.pop())


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of ``data``; an ``OSError`` means that the reader is gone."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def flush() -> None:
    """Push out what the task printed, so that it stands in the log before the attempt's end.

    The streams are the task's to break: one that it closed, or whose reader is gone, is no reason to fail.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue


#: How often a child looks whether the worker has read what the last run printed.
_LOOK_SECONDS = 0.0002


class Outputs:
    """The pipes behind descriptors 1 and 2, seen from their writing ends."""

    def __init__(self) -> None:
        # Not everywhere: imported by those who fork.
        import fcntl
        import termios

        self._ask, self._question = fcntl.ioctl, termios.FIONREAD
        # Filled by the kernel; kept, because a new one for each look costs more than the look.
        self._bytes = array.array("i", [0])

    def waiting(self) -> bool:
        """Whether something is in them that the worker has not read.

        Raises:
            OSError: (``EBADF``) a task has closed them.
        """
        return self._waiting(1) or self._waiting(2)

    def wait(self, stream: int) -> bool:
        """Wait until nothing is, however long that takes; ``False`` when ``stream`` closes first."""
        closed = select.poll()
        closed.register(stream, getattr(select, "POLLRDHUP", 0))
        while self.waiting():
            if closed.poll(0):
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def _waiting(self, descriptor: int) -> bool:
        try:
            self._ask(descriptor, self._question, self._bytes)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise
            return False  # no pipe: nobody waits for it to be read
        return self._bytes[0] > 0
