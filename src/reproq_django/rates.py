"""Rates: how often runs may start, as the code of a task states it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from django.tasks.base import Task
from django.tasks.exceptions import InvalidTask

from reproq_django.keys import key_of_run

type Rate = float | str

_TEXT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*/\s*([0-9]*)\s*([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
#: Workers count in microseconds, and nobody waits for more than a year.
_FASTEST: Final = 1_000_000.0
_SLOWEST: Final = 1 / (366 * 86_400)


def starts_per_second(rate: Rate) -> float:
    """``rate`` in starts per second: a number is that already; a text is ``"100/m"`` or ``"100/15m"``.

    Raises InvalidTask for anything else, and for a rate beyond one start in 366 days and a million a second.
    """
    if isinstance(rate, str):
        number = _read(rate)
    else:
        number = rate if isinstance(rate, int | float) and not isinstance(rate, bool) else math.nan
    # False for NaN as well.
    if not _SLOWEST <= number <= _FASTEST:
        raise InvalidTask(
            f"rate_limit cannot be {rate!r}: give starts per second as a number, or a text such as "
            '"10/s", "100/m", "100/15m", "5/h" or "1/d", from 1/366d to 1000000/s. '
            "Leave it out for no limit; to stop a task, pause it."
        )
    return float(number)


@lru_cache(maxsize=1024)
def _read(text: str) -> float:
    parts = _TEXT.fullmatch(text.strip())
    if parts is None:
        return math.nan
    seconds = int(parts[2] or 1) * _SECONDS[parts[3]]
    return float(parts[1]) / seconds if seconds else math.nan


def rate_of_run(
    task: Task, key: Any, args: tuple[Any, ...] | list[Any], kwargs: Mapping[str, Any]
) -> tuple[str | None, float | None, int | None]:
    """(full name of the rate that the run's start counts for, starts per second, burst); None = not stated.

    ``key`` is the run's own rate key or a callable that knows it. Without one, all runs of a task that has a
    ``rate_limit`` count for one rate; a callable may answer None for a run that counts for none.
    """
    limit = getattr(task, "rate_limit", None)
    if key is None:
        name = None if limit is None else f"task:{task.module_path}"
    else:
        found = key_of_run("rate_key", key, args, kwargs)
        name = f"key:{found}" if found else None
    if name is None or limit is None:
        return name, None, None
    return name, starts_per_second(limit), getattr(task, "rate_burst", 1)
