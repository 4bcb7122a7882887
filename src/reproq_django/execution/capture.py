"""What runs print that share a process: each one's own words, told apart by the context they run in.

Descriptors cannot be told apart there, so this works on ``sys.stdout`` and ``sys.stderr``: ``print``,
``logging`` and everything else that writes to them, also from threads that were started with the run's
context (``asyncio.to_thread``, ``sync_to_async``).
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

#: Characters kept of each stream of a run.
MAX_CHARACTERS = 256 * 1024


class Words:
    """The end of what one run has written to one stream."""

    def __init__(self) -> None:
        self._parts: deque[str] = deque()
        self._length = 0
        self._dropped = 0
        self._lock = threading.Lock()

    def add(self, text: str) -> None:
        """Keep ``text``, and of all the last ``MAX_CHARACTERS``."""
        with self._lock:
            self._parts.append(text)
            self._length += len(text)
            while self._length > MAX_CHARACTERS:
                surplus = self._length - MAX_CHARACTERS
                first = self._parts.popleft()
                if len(first) > surplus:
                    self._parts.appendleft(first[surplus:])
                dropped = min(len(first), surplus)
                self._length -= dropped
                self._dropped += dropped

    def text(self) -> str:
        """What is kept, and how much is not."""
        with self._lock:
            text = "".join(self._parts)
        return f"[{self._dropped} characters before this are not kept]\n{text}" if self._dropped else text


class Captured:
    """The words of one run."""

    def __init__(self) -> None:
        self.stdout, self.stderr = Words(), Words()


_current: ContextVar[Captured | None] = ContextVar("reproq_captured", default=None)


@contextmanager
def capturing() -> Iterator[Captured]:
    """Keep what this context, and every one that is made from it, prints."""
    captured = Captured()
    token = _current.set(captured)
    try:
        yield captured
    finally:
        _current.reset(token)


class _Router(io.TextIOBase):
    """Stands in for a standard stream: words of a run go to the run, all others where they always went."""

    def __init__(self, original: TextIO, name: str) -> None:
        self._original, self._name = original, name

    def write(self, text: str) -> int:
        captured = _current.get()
        if captured is None:
            return self._original.write(text)
        words: Words = getattr(captured, self._name)
        words.add(text)
        return len(text)

    def flush(self) -> None:
        self._original.flush()

    def fileno(self) -> int:
        return self._original.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._original.encoding

    @property
    def buffer(self) -> object:
        # Bytes written past us belong to nobody, but must not fail.
        return self._original.buffer


def install() -> None:
    """Put routers in place of the standard streams, also in log handlers that hold on to those."""
    routers = {
        id(stream): _Router(stream, name) for name in ("stdout", "stderr") if (stream := getattr(sys, name))
    }
    handlers = [handler for reference in logging._handlerList if (handler := reference()) is not None]  # type: ignore[attr-defined]
    for handler in handlers:
        if isinstance(handler, logging.StreamHandler) and id(handler.stream) in routers:
            handler.setStream(routers[id(handler.stream)])
    sys.stdout = routers.get(id(sys.stdout), sys.stdout)
    sys.stderr = routers.get(id(sys.stderr), sys.stderr)
