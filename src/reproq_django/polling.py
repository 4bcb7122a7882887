"""Waiting for something that the database will say."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

_FIRST_SECONDS: Final = 0.02


def delays(
    timeout: float | None, poll_interval: float, is_over: Callable[[], bool], complaint: Callable[[], str]
) -> Iterator[float]:
    """Seconds to sleep before each look, until ``is_over``; the first looks come faster.

    ``timeout`` and ``poll_interval`` are seconds. Raises TimeoutError with ``complaint``.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    delay = min(_FIRST_SECONDS, poll_interval)
    yield 0.0
    while not is_over():
        left = delay if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(complaint())
        yield min(delay, left)
        delay = min(delay * 2, poll_interval)
