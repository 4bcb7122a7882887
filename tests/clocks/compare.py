"""Asks the binary and the others, zone by zone, and counts what differs."""

from __future__ import annotations

import json
import subprocess
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim
from tests.clocks.rule import EXPRESSIONS, Expression, times

#: Around each clock change; what happens on other days is the same every day.
BEFORE, AFTER = timedelta(hours=36), timedelta(hours=36)
HOUR = timedelta(hours=1)


@dataclass(slots=True)
class Comparison:
    """What has been compared so far."""

    zones: int = 0
    changes: int = 0
    cases: int = 0
    """Times that the evaluator has named."""
    against_rule: list[str] = field(default_factory=list)
    against_cronsim: list[str] = field(default_factory=list)
    """Where clocks change by an hour."""
    by_other_spans: list[str] = field(default_factory=list)
    """Where they change by half an hour or several: there cronsim passes over times that clocks do show."""


def use_packaged_zones() -> str:
    """The zones of the tzdata package, not the machine's; its release, as IANA names it."""
    import tzdata

    zoneinfo.reset_tzpath([])
    return str(tzdata.IANA_VERSION)


def zones(count: int) -> list[str]:
    """So many zones, those with their own rules first: the names of regions, in their order."""
    names = sorted(
        name for name in zoneinfo.available_timezones() if "/" in name and not name.startswith("Etc/")
    )
    step = max(1, len(names) // count)
    return names[::step][:count] if count < len(names) else names


def changes(zone: ZoneInfo, first: datetime, last: datetime) -> list[datetime]:
    """When the clocks are put forward or back, to the hour before it."""
    found, at, offset = [], first, _offset(zone, first)
    while at < last:
        at += HOUR
        if (now := _offset(zone, at)) != offset:
            found.append(at)
            offset = now
    return found


def _offset(zone: ZoneInfo, at: datetime) -> timedelta:
    return at.astimezone(zone).utcoffset() or timedelta()


def compare(binary: Path, name: str, first: datetime, last: datetime, so_far: Comparison) -> None:
    """All expressions in one zone: a quiet week, and the days around each change."""
    zone = ZoneInfo(name)
    so_far.zones += 1
    found = changes(zone, first, last)
    so_far.changes += len(found)
    by_an_hour = all(abs(_offset(zone, at) - _offset(zone, at - HOUR)) == HOUR for at in found)
    against_cronsim = so_far.against_cronsim if by_an_hour else so_far.by_other_spans
    spans = [(first, first + timedelta(days=7)), *((at - BEFORE, at + AFTER) for at in found)]
    for expression in EXPRESSIONS:
        for start, end in _joined(spans):
            said = ask(binary, expression.text, name, start, end)
            so_far.cases += len(said)
            _note(
                so_far.against_rule, name, expression, said, times(expression, zone, start + HOUR / 60, end)
            )
            _note(against_cronsim, name, expression, said, _by_cronsim(expression, zone, start, end))


def _joined(spans: list[tuple[datetime, datetime]]) -> Iterator[tuple[datetime, datetime]]:
    """Spans that overlap are one."""
    pending: tuple[datetime, datetime] | None = None
    for start, end in sorted(spans):
        if pending is not None and start <= pending[1]:
            pending = pending[0], max(end, pending[1])
            continue
        if pending is not None:
            yield pending
        pending = start, end
    if pending is not None:
        yield pending


def ask(binary: Path, expression: str, zone: str, after: datetime, last: datetime) -> list[datetime]:
    """What ``reproq cron next`` says in ``(after, last]``."""
    # No expression of ours has more than three times in an hour.
    count = int((last - after) / HOUR * 3) + 10
    answer = subprocess.run(
        [binary, "cron", "next", expression, "--tz", zone, "--from", after.isoformat(), "--count", str(count),
         "--json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    said = [datetime.fromisoformat(at).astimezone(UTC) for at in json.loads(answer.stdout)["times"]]
    return [at for at in said if at <= last]


def _by_cronsim(expression: Expression, zone: ZoneInfo, after: datetime, last: datetime) -> list[datetime]:
    found = []
    for at in CronSim(expression.text, after.astimezone(zone)):
        if at.astimezone(UTC) > last:
            return found
        found.append(at.astimezone(UTC))
    return found


def _note(
    differences: list[str], zone: str, expression: Expression, said: list[datetime], wanted: list[datetime]
) -> None:
    odd = sorted(set(said) ^ set(wanted))
    if odd or said != sorted(set(said)):
        who = "only the evaluator" if odd and odd[0] in said else "only the other"
        differences.append(f"{expression.text!r} in {zone}: {who} has {odd[0] if odd else 'a time twice'}")
