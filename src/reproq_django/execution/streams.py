"""Where the protocol and the task's own output go in mode ``process``."""

from __future__ import annotations

import os
import sys

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
    try:
        sys.stdout.reconfigure(line_buffering=True)
    except (AttributeError, ValueError):
        # Closed, or of the site's own making.
        return


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
