"""Schedules that the code declares.

::

    @recurring(schedule="0 2 * * *", key="nightly-report", timezone="Europe/Prague")
    @task
    def report(): ...

``migrate`` stores them (unless REPROQ_RECURRING_AUTOSYNC is False), and so does ``manage.py reproq
sync-recurring``; sync.py says what that does to the rows.

This module may be imported before Django's apps are ready: tasks are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.tasks.base import Task

from reproq_django.conf import MAX_INT
from reproq_django.errors import ScheduleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One ``@recurring``. The task is known by its path: its module may not have made it yet."""

    key: str
    task_path: str
    function: Callable[..., Any]
    #: Empty where ``every_seconds`` says when.
    cron_expr: str
    every_seconds: int | None
    timezone: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    #: None: the task's own, of all three.
    queue_name: str | None
    priority: int | None
    max_attempts: int | None
    enabled: bool
    catch_up: str
    catch_up_limit: int
    overlap: str
    jitter_seconds: int
    start_at: datetime | None
    end_at: datetime | None


#: In the order of declaration. Not on the task, which is frozen and has slots.
_declared: Final[list[Declaration]] = []


def recurring(
    *,
    schedule: str | None = None,
    key: str | None = None,
    args: Sequence[Any] | None = (),
    kwargs: Mapping[str, Any] | None = None,
    queue_name: str | None = None,
    priority: int | None = None,
    max_attempts: int | None = None,
    enabled: bool = True,
    timezone: str = "UTC",
    catch_up: str = "latest",
    catch_up_limit: int = 100,
    overlap: str = "allow",
    every: float | timedelta | None = None,
    jitter: float | timedelta = 0,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Callable[[Any], Any]:
    """Declare a schedule for a task. Above or below ``@task``, any number of times; the task stays what it
    is.

    Args:
        schedule: a cron expression, for ``timezone``. This or ``every``.
        key: name of the schedule, one of its kind in the site; the task's path when there is one only.
        args, kwargs: what the task is called with, as for its ``enqueue``.
        queue_name, priority, max_attempts: None = the task's own.
        enabled: whether the schedule is on when it is stored first.
        catch_up, catch_up_limit, overlap: see ``PeriodicTask``.
        every: fires each so many seconds (or a timedelta of whole seconds).
        jitter: runs start up to so many seconds later (or a timedelta).
        start, end: aware; nothing fires before or after.

    Raises ScheduleError for what no schedule can be; what needs the site to be known, the system checks say.
    """
    if (schedule is None or schedule == "") == (every is None):
        raise ScheduleError("schedule", "give it schedule= (a cron expression) or every=, one of the two")
    every_seconds = None if every is None else _whole_seconds("every", every, 1)
    jitter_seconds = _whole_seconds("jitter", jitter, 0)

    def declare(decorated: Any) -> Any:
        function = decorated.func if isinstance(decorated, Task) else decorated
        path = f"{function.__module__}.{function.__qualname__}"
        own = decorated if isinstance(decorated, Task) else None
        _add(
            Declaration(
                key=path if key is None else key,
                task_path=path,
                function=function,
                cron_expr=schedule or "",
                every_seconds=every_seconds,
                timezone=timezone,
                args=tuple(args or ()),
                kwargs=dict(kwargs or {}),
                # That of a task which was changed by .using() before it came here is not in its module.
                queue_name=queue_name or getattr(own, "queue_name", None),
                priority=priority if priority is not None else getattr(own, "priority", None),
                max_attempts=max_attempts or getattr(own, "max_attempts", None),
                enabled=enabled,
                catch_up=catch_up,
                catch_up_limit=catch_up_limit,
                overlap=overlap,
                jitter_seconds=jitter_seconds,
                start_at=start,
                end_at=end,
            )
        )
        return decorated

    return declare


def declarations() -> list[Declaration]:
    """All that the modules imported so far declare."""
    return list(_declared)


def sync_recurring_tasks(using: str | None = None, clear_missing: bool = False) -> int:
    """Store what is declared; answers how many schedules that are.

    Args:
        using: alias of the database to bring up to date; None: all that hold queues.
        clear_missing: delete stored schedules that were declared once and are no more.

    Problems and orphans are logged as warnings. Raises what a module of tasks raises while it is imported,
    and the database's own errors.
    """
    from reproq_django.db import queue_aliases
    from reproq_django.sync import sync_database

    aliases = queue_aliases() if using is None else [using]
    reports = [sync_database(alias, clear_missing=clear_missing) for alias in aliases]
    for report in reports:
        report.log()
    return sum(report.count for report in reports)


def _add(new: Declaration) -> None:
    # A module that is imported anew declares its own again; two decorators with one key on one function stay,
    # for the checks to find.
    for known in [*_declared]:
        same = (known.key, known.task_path) == (new.key, new.task_path)
        if same and known.function is not new.function:
            _declared.remove(known)
    _declared.append(new)


def _whole_seconds(name: str, given: float | timedelta, least: int) -> int:
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    good = isinstance(seconds, int | float) and not isinstance(seconds, bool) and math.isfinite(seconds)
    if not good or seconds != int(seconds) or not least <= seconds <= MAX_INT:
        raise ScheduleError(
            name, f"takes whole seconds from {least} up, or a timedelta of such, not {given!r}"
        )
    return int(seconds)
