"""The rule for clock changes, worked out from what the clocks of a zone show: no cron library, no search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Expression:
    """A cron expression whose days are all days, one of its weekdays, or one of its month's days."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    weekday: int | None = None
    """As Python counts, Monday is 0."""
    day: int | None = None
    is_fixed: bool = True
    """Neither the minute nor the hour is a wildcard or a step."""

    def is_on(self, day: date) -> bool:
        return self.weekday in (None, day.weekday()) and self.day in (None, day.day)

    def shows(self, clock: datetime) -> bool:
        """Whether a clock shows one of its times."""
        return clock.minute in self.minutes and clock.hour in self.hours and self.is_on(clock.date())


def _of(
    text: str, minutes: range | tuple[int, ...], hours: range | tuple[int, ...], **more: object
) -> Expression:
    return Expression(text, frozenset(minutes), frozenset(hours), **more)  # type: ignore[arg-type]


ALL_HOURS = range(24)
EXPRESSIONS = (
    _of("30 2 * * *", (30,), (2,)),
    _of("0 0 * * *", (0,), (0,)),
    _of("15 1 * * *", (15,), (1,)),
    _of("59 23 * * *", (59,), (23,)),
    _of("0 3 * * 0", (0,), (3,), weekday=6),
    _of("45 0 1 * *", (45,), (0,), day=1),
    _of("5,35 1,2 * * *", (5, 35), (1, 2)),
    _of("*/20 * * * *", range(0, 60, 20), ALL_HOURS, is_fixed=False),
    _of("10 * * * *", (10,), ALL_HOURS, is_fixed=False),
    _of("0 */2 * * *", (0,), range(0, 24, 2), is_fixed=False),
    _of("*/15 2 * * *", range(0, 60, 15), (2,), is_fixed=False),
)


def times(expression: Expression, zone: ZoneInfo, first: datetime, last: datetime) -> list[datetime]:
    """All times in ``[first, last]``, UTC."""
    found = (
        _fixed(expression, zone, first, last)
        if expression.is_fixed
        else _elapsed(expression, zone, first, last)
    )
    return sorted({at for at in found if first <= at <= last})


def _fixed(expression: Expression, zone: ZoneInfo, first: datetime, last: datetime) -> Iterator[datetime]:
    """Once a day and time: when the clocks first show it, or the end of the gap that they skip it in."""
    day, end = (first - timedelta(days=2)).date(), (last + timedelta(days=2)).date()
    while day <= end:
        if expression.is_on(day):
            for hour in expression.hours:
                for minute in expression.minutes:
                    yield _place(datetime.combine(day, time(hour, minute)), zone)
        day += timedelta(days=1)


def _place(clock: datetime, zone: ZoneInfo) -> datetime:
    at = clock.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if at.astimezone(zone).replace(tzinfo=None) == clock:
        return at
    # Skipped: the first second whose clock shows a later time.
    at -= timedelta(days=2)
    step = timedelta(days=4)
    while step > timedelta(seconds=1):
        step /= 2
        if (at + step).astimezone(zone).replace(tzinfo=None) <= clock:
            at += step
    return (at + timedelta(seconds=1)).replace(microsecond=0)


def _elapsed(expression: Expression, zone: ZoneInfo, first: datetime, last: datetime) -> Iterator[datetime]:
    """Every minute that passes and whose clock shows one of the times. Offsets have been whole minutes since
    1972."""
    at = first.replace(second=0, microsecond=0)
    while at <= last:
        if expression.shows(at.astimezone(zone).replace(tzinfo=None)):
            yield at
        at += MINUTE
