"""When schedules fire, and what came of it.

There is one evaluator of cron expressions, the binary's: it is asked for whatever has to be known here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import CommandError
from django.utils import timezone

from reproq_django import binary
from reproq_django.db import queue_alias
from reproq_django.status import RunStatus, TickState

if TYPE_CHECKING:
    from reproq_django.models import PeriodicRun, PeriodicTask
    from reproq_django.result import ReproqTaskResult

_logger = logging.getLogger(__name__)

#: ``next_run_at`` of a schedule that fires no more.
NEVER: Final = datetime(9999, 12, 31, tzinfo=UTC)

#: Stands for the expression where only the zone is asked about.
_ANY: Final = "0 0 * * *"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One entry of a schedule's history."""

    scheduled_at: datetime
    #: ``status.TickState``.
    state: str
    #: Ticks that the entry stands for, until ``missed_until``.
    count: int
    missed_until: datetime | None
    #: Why nothing was enqueued.
    reason: str | None
    #: The run, and its state now; None: there is none, or it has been pruned.
    result_id: int | None
    run_status: str | None
    started_at: datetime | None
    finished_at: datetime | None
    last_error: str | None

    @property
    def outcome(self) -> str:
        """In a word or two: the state of the run, else that of the tick."""
        if self.run_status is not None:
            return str(RunStatus(self.run_status).label)
        label = TickState(self.state).label if self.state in TickState.values else self.state
        return f"{label} ({self.count})" if self.count > 1 else str(label)


def problems(expression: str, zone: str) -> dict[str, str]:
    """What the binary says against a cron expression and its zone: field -> reason.

    ``expression`` may be empty, then the zone alone is looked at. Empty too when there is no binary to ask:
    the scheduler will say it then.
    """
    try:
        return _problems(expression, zone, binary.find_matching_once())
    except binary.BinaryError as error:
        _logger.warning("the cron expression %r is not checked: %s", expression, error)
        return {}


@lru_cache(maxsize=1024)
def _problems(expression: str, zone: str, asked: Path) -> dict[str, str]:
    try:
        _ask_for_times(expression or _ANY, zone, count=1)
    except binary.BinaryRefusal as refusal:
        if not expression:
            return {"timezone": str(refusal)}
        try:
            _ask_for_times(_ANY, zone, count=1)
        except binary.BinaryRefusal as of_zone:
            return {"timezone": str(of_zone)}
        return {"cron_expr": str(refusal)}
    return {}


def _ask_for_times(
    expression: str, zone: str, *, count: int, after: datetime | None = None
) -> list[datetime]:
    """The next ``count`` times after ``after`` (now). Raises BinaryError."""
    words = ["cron", "next", f"--tz={zone}", f"--count={count}", "--json"]
    if after is not None:
        words.append(f"--from={after.astimezone(UTC).isoformat()}")
    answer = json.loads(binary.ask([*words, "--", expression]))
    return [datetime.fromisoformat(time).astimezone(UTC) for time in answer["times"]]


def next_runs(schedule: PeriodicTask, count: int = 5) -> list[datetime]:
    """When an enabled schedule fires next, aware and in UTC; fewer times when it ends before, none when it is
    off.

    Raises ``binary.BinaryRefusal`` for an expression or a zone that cannot be read, ``binary.BinaryError``
    when there is no binary to ask.
    """
    if not schedule.enabled or count < 1:
        return []
    end = None if schedule.end_at is None else _utc(schedule.end_at)
    times = [time for time in _times(schedule, count) if end is None or time <= end]
    return times[:count]


def _times(schedule: PeriodicTask, count: int) -> list[datetime]:
    """Times from ``next_run_at`` on, which is one itself; from now on when it no longer fits the schedule."""
    start = None if schedule.start_at is None else _utc(schedule.start_at)
    first = _utc(schedule.next_run_at)
    if schedule.rebase or (start is not None and first < start):
        return _times_after(schedule, *_beginning(start, datetime.now(UTC)), count)
    if first >= NEVER:
        return []
    return [first, *_times_after(schedule, first, first, count)]


def _beginning(start: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """(the moment after which the first time is looked for, the one that even spans are counted from)."""
    if start is not None and start > now:
        return start - timedelta(microseconds=1), start
    return now, start or now


def _times_after(schedule: PeriodicTask, after: datetime, anchor: datetime, count: int) -> list[datetime]:
    if schedule.every_seconds is None:
        return _ask_for_times(schedule.cron_expr, schedule.timezone, count=count, after=after)
    span = timedelta(seconds=schedule.every_seconds)
    gone = (after - anchor) // span
    return [anchor + span * (gone + number) for number in range(1, count + 1)]


def _utc(moment: datetime) -> datetime:
    """In UTC; a site without USE_TZ has naive times in its own zone."""
    return (timezone.make_aware(moment) if timezone.is_naive(moment) else moment).astimezone(UTC)


def history(schedule: PeriodicTask, limit: int = 20) -> list[Tick]:
    """The newest ``limit`` ticks, newest first, with the state that their runs have now. Two queries."""
    from reproq_django.models import PeriodicRun, TaskRun

    alias = schedule._state.db
    ticks = list(
        PeriodicRun.objects.using(alias).filter(name=schedule.name).order_by("-scheduled_at")[:limit]
    )
    wanted = [tick.result_id for tick in ticks if tick.result_id is not None]
    columns = ("result_id", "status", "started_at", "finished_at", "last_error")
    runs = {
        row["result_id"]: row
        for row in TaskRun.objects.using(alias).filter(result_id__in=wanted).values(*columns)
    }
    return [_tick(tick, runs.get(tick.result_id)) for tick in ticks]


def _tick(tick: PeriodicRun, run: Mapping[str, Any] | None) -> Tick:
    known = run or {}
    return Tick(
        scheduled_at=tick.scheduled_at,
        state=tick.state,
        count=tick.count,
        missed_until=tick.missed_until,
        reason=tick.reason,
        result_id=tick.result_id,
        run_status=known.get("status"),
        started_at=known.get("started_at"),
        finished_at=known.get("finished_at"),
        last_error=known.get("last_error"),
    )


def run_now(schedule: PeriodicTask) -> ReproqTaskResult:
    """Have the binary enqueue a run of a schedule that is stored and committed; its next time stays.

    Raises ``binary.BinaryRefusal`` with the reason, ``binary.BinaryError`` when there is no binary.
    """
    from reproq_django.cli.environment import worker_environment
    from reproq_django.models import TaskRun
    from reproq_django.result import ReproqTaskResult

    alias = schedule._state.db or queue_alias(schedule.queue_name)
    words = ["periodic", "run", "--json", "--", schedule.name]
    try:
        environment = worker_environment(alias, words)
    except CommandError as error:
        raise binary.BinaryError(str(error)) from error
    answer = json.loads(binary.ask(words, environment=environment))
    return ReproqTaskResult.from_run(TaskRun.objects.using(alias).get(result_id=answer["result_id"]))
