"""What a run says while it is worked on: limits, more time, progress (``contracts/executor.md``, notes)."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from reproq_django.execution import frames, interrupt

VARIABLE = "REPROQ_NOTES_FD"

#: At most one word on progress in so long.
PROGRESS_SECONDS = 1.0


class Channel:
    """One process's way to the worker. Frames are written whole, whichever threads write them."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self.process = os.getpid()

    def write(self, payload: bytes) -> None:
        """Write one frame. An ``OSError`` means that the worker is gone."""
        with self._lock:
            frames.write(self._descriptor, payload)


def channel_from_environment() -> Channel | None:
    """Where the notes of mode ``process`` go; None when nobody listens. What the task starts has none."""
    text = os.environ.pop(VARIABLE, "")
    try:
        descriptor = int(text)
        os.set_inheritable(descriptor, False)
    except (ValueError, OSError):
        return None
    return Channel(descriptor)


class Notes:
    """The notes of one run.

    Usable from all of a task's threads, until ``close``. Nobody is told when the task was run by hand.

    Args:
        channel: where they go; None: nowhere.
        run: the ``run`` message of the contract.
        extended: called with the seconds of each ``extend``.
    """

    def __init__(
        self, channel: Channel | None, run: dict[str, Any], extended: Callable[[float], None] | None
    ) -> None:
        self._channel = channel
        self._run = run
        self._extended = extended
        self._lock = threading.RLock()
        self._closed = False
        self._progress: dict[str, Any] | None = None
        self._progress_at = float("-inf")

    def limits(self, max_memory_bytes: int) -> None:
        """Tell the worker what the run's processes may use."""
        interrupt.held(self._say, "limits", {"max_memory_bytes": max_memory_bytes})

    def extend(self, seconds: float) -> None:
        """Ask for time until ``seconds`` from now at least."""
        interrupt.held(self._say, "extend", {"seconds": seconds})
        if self._extended is not None:
            self._extended(seconds)

    def progress(self, progress: dict[str, Any]) -> None:
        """Say how far the run is: at once, or as soon as a second has passed since the last word."""
        interrupt.held(self._keep, progress)

    def close(self) -> None:
        """Say the last word on progress; whatever a thread of the task says later is dropped."""
        with self._lock:
            self._flush()
            self._closed = True

    def _keep(self, progress: dict[str, Any]) -> None:
        with self._lock:
            self._progress = progress
            if time.monotonic() - self._progress_at >= PROGRESS_SECONDS:
                self._flush()

    def _flush(self) -> None:
        if self._progress is not None:
            self._say("progress", {"progress": self._progress})
            self._progress = None
            self._progress_at = time.monotonic()

    def _say(self, kind: str, fields: dict[str, Any]) -> None:
        with self._lock:
            # A process that the task has forked says nothing: the stream is not its own.
            if self._channel is None or self._closed or self._channel.process != os.getpid():
                return
            head = {"type": kind, "result_id": self._run["result_id"], "epoch": self._run.get("epoch", 0)}
            try:
                self._channel.write(json.dumps(head | fields, allow_nan=False).encode("ascii"))
            except OSError:
                # The worker is gone; the end of its stream will say so, the task's own code should not fail.
                self._channel = None
