"""The promises, held against intervals and moments. Pure; times are whole numbers in a unit of choice."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was not kept."""

    rule: str
    key: str
    detail: str
    intervals: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n    ".join([f"{self.rule} {self.key}: {self.detail}", *self.intervals])


@dataclass(frozen=True, slots=True)
class Hold:
    """Somebody has a key from ``start`` to ``end``. ``allowed``: how many may have it as this one begins."""

    start: int
    end: int
    allowed: int
    who: Any


class Limits:
    """The limits of one key in the course of time."""

    def __init__(self, slack: int) -> None:
        self._slack = slack
        self._words: list[tuple[int, int, int]] = []

    def state(self, before: int, after: int, limit: int) -> None:
        """From some moment between ``before`` and ``after`` the limit is this one."""
        if not self._words or self._words[-1][2] != limit:
            self._words.append((before, after, limit))

    def allowed(self, since: int, until: int) -> int:
        """The largest limit that may have been in force at some moment of this span."""
        found = []
        for place, (before, _, limit) in enumerate(self._words):
            over = self._words[place + 1][1] if place + 1 < len(self._words) else None
            if before <= until + self._slack and (over is None or over >= since - self._slack):
                found.append(limit)
        return max(found)


def crowded(rule: str, key: str, holds: Iterable[Hold]) -> Iterator[Violation]:
    """Every hold that began while too many others had the key. Who ends at a moment makes room for who begins
    then."""
    present: list[tuple[int, int, Hold]] = []
    for place, hold in enumerate(sorted(holds, key=lambda hold: (hold.start, hold.end))):
        while present and present[0][0] <= hold.start:
            heapq.heappop(present)
        heapq.heappush(present, (hold.end, place, hold))
        if len(present) > hold.allowed:
            who = tuple(str(one.who) for _, _, one in sorted(present, key=lambda one: one[2].start))
            yield Violation(rule, key, f"{len(present)} at once, {hold.allowed} allowed", who)


def most(holds: Iterable[Hold]) -> int:
    """How many had the key at once at most."""
    highest = 0
    ends: list[int] = []
    for hold in sorted(holds, key=lambda hold: hold.start):
        while ends and ends[0] <= hold.start:
            heapq.heappop(ends)
        heapq.heappush(ends, hold.end)
        highest = max(highest, len(ends))
    return highest


def beyond_rate(
    rule: str, key: str, starts: Iterable[tuple[int, Any]], per_unit: Fraction, burst: int, slack: int
) -> Iterator[Violation]:
    """The worst window with more than ``burst + per_unit x (its length + slack)`` starts, if there is one.
    Exact."""
    worst, worst_window = Fraction(burst) + per_unit * slack, None
    least, first = None, 0
    ordered = sorted(starts, key=lambda start: start[0])
    for place, (at, _) in enumerate(ordered):
        # Starts so far less what the rate has given so far: the excess of a window is a difference of two.
        level = place - per_unit * at
        if least is None or level < least:
            least, first = level, place
        excess = level - least + 1
        if excess > worst:
            worst, worst_window = excess, (first, place)
    if worst_window is not None:
        first, last = worst_window
        width, count = ordered[last][0] - ordered[first][0], last - first + 1
        allowed = burst + float(per_unit * width)
        who = tuple(str(one) for _, one in ordered[first : min(last + 1, first + 20)])
        yield Violation(rule, key, f"{count} starts in a window of {width}, {allowed:.3f} allowed", who)


def repeated(rule: str, values: Iterable[Any], describe: Callable[[Any], str] = str) -> Iterator[Violation]:
    """What is there more than once."""
    seen = set()
    for value in values:
        if value in seen:
            yield Violation(rule, describe(value), "more than once")
        seen.add(value)
