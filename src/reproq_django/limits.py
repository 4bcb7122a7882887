"""What a task says of the process that is to run it: its kind, its memory, the time to clean up."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, Final

from django.tasks.exceptions import InvalidTask

from reproq_django.conf import MAX_INT

type Memory = int | str

ISOLATIONS: Final = ("pool", "fork", "process")

#: Less is a slip of the unit: no process with a site in it lives on that.
MIN_MEMORY_BYTES: Final = 1024 * 1024
_MAX_MEMORY_BYTES: Final = 2**60
_MEMORY: Final = re.compile(r"([0-9]+)\s*([KMGT])(?:i?B)?", re.IGNORECASE)
_UNITS: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def memory_bytes(memory: Memory) -> int:
    """``max_memory`` in bytes: a number is that already; a text is ``"256M"`` or ``"1G"``, by powers of 1024.

    Raises InvalidTask for anything else.
    """
    found = memory
    if isinstance(memory, str) and (match := _MEMORY.fullmatch(memory.strip())):
        found = int(match[1]) * _UNITS[match[2].upper()]
    if (
        not isinstance(found, int)
        or isinstance(found, bool)
        or not (MIN_MEMORY_BYTES <= found <= _MAX_MEMORY_BYTES)
    ):
        raise InvalidTask(
            f"max_memory cannot be {memory!r}: give bytes as a whole number, or a text such as "
            '"256M" or "1G"; at least 1M.'
        )
    return found


def soft_seconds(soft_timeout: float | timedelta) -> float:
    """``soft_timeout`` in seconds. Raises InvalidTask for what is no time."""
    seconds: Any = soft_timeout
    if isinstance(soft_timeout, timedelta):
        seconds = soft_timeout.total_seconds()
    # Also false for what is no number at all: NaN and infinity.
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= MAX_INT:
        raise InvalidTask(
            f"soft_timeout must be a timedelta or a number of seconds, over 0 and up to {MAX_INT}, "
            f"not {soft_timeout!r}."
        )
    return float(seconds)
