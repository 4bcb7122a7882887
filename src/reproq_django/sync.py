"""What ``@recurring`` declares, brought into the database.

A row that the code has made has the source "code"; others are people's and are not touched, save for their
``options_json``. Of a row of the code's everything is as declared, with two exceptions:

- ``next_run_at`` moves only when the schedule itself has changed; then, and for a new row, the scheduler
  computes it anew from now, so that nothing fires because of a deploy.
- ``enabled`` is the operator's: it is written when the row is made, and again only when the declaration says
  something else than it did at the last time. A schedule that somebody has switched off stays off.

A schedule with a mistake is reported, and its row stays as it was.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from django.apps import AppConfig
from django.db import connections, router, transaction
from django.tasks.base import DEFAULT_TASK_QUEUE_NAME
from django.utils import timezone

from reproq_django import schema
from reproq_django.conf import setting
from reproq_django.db import queue_alias, queue_aliases
from reproq_django.discovery import task_modules
from reproq_django.errors import ScheduleError
from reproq_django.models import PeriodicTask
from reproq_django.recurring import Declaration, declarations
from reproq_django.schedules import DECLARED_ENABLED, fill, problems_of, task_of
from reproq_django.spec import encode_call

_logger = logging.getLogger(__name__)

CODE: Final = "code"

#: What the earlier system's sync has stored: a row that says the same is the code's, whoever made it.
_KNOWN_BEFORE: Final = (
    "task_path", "cron_expr", "payload_json", "queue_name", "priority", "max_attempts",
)  # fmt: skip
#: What a declaration says of a row.
_DECLARED: Final = (
    *_KNOWN_BEFORE, "concurrency_key", "concurrency_limit", "timezone", "every_seconds", "jitter_seconds",
    "catch_up", "catch_up_limit", "overlap", "start_at", "end_at",
)  # fmt: skip


@dataclass(slots=True)
class SyncReport:
    """What a sync has done to one database. All but ``problems`` hold names of schedules."""

    alias: str
    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    #: Stored once by the code, which declares them no more.
    orphans: list[str] = field(default_factory=list)
    #: Orphans that were deleted.
    deleted: list[str] = field(default_factory=list)
    #: Name -> why the declaration was not followed.
    problems: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Schedules that are in the database as they are declared."""
        return len(self.created) + len(self.changed) + len(self.unchanged)

    def lines(self) -> list[str]:
        """For people: what was done, a line each."""
        return [
            *(f"{name}: created" for name in self.created),
            *(f"{name}: changed" for name in self.changed),
            *(f"{name}: deleted, no code declares it any more" for name in self.deleted),
        ]

    def warnings(self) -> list[str]:
        """For people: what is left for them to do."""
        return [
            *(f"{name}: {problem}" for name, problem in self.problems.items()),
            *(
                f"{name}: no code declares it any more, and it goes on; "
                "`manage.py reproq sync-recurring --clear-missing` deletes such schedules"
                for name in self.orphans
            ),
        ]

    def log(self) -> None:
        """Log the warnings."""
        for warning in self.warnings():
            _logger.warning("schedule %s", warning)


def sync_database(alias: str, *, clear_missing: bool = False) -> SyncReport:
    """Bring the declared schedules whose queue lives in the database ``alias`` up to date there.

    Does nothing where Reproq's schema is not this version's. Raises what a module of tasks raises while it is
    imported (nobody knows then what is declared), and the database's own errors.
    """
    report = SyncReport(alias)
    if not schema.is_current(connections[alias]):
        return report
    task_modules()
    wanted = _declared_for(alias, report)
    stored = {row.name: row for row in PeriodicTask.objects.using(alias)}
    with transaction.atomic(using=alias):
        for row in wanted.values():
            _store(row, stored.get(row.name), report)
        for name, row in stored.items():
            if row.source == CODE and name not in wanted and name not in report.problems:
                report.orphans.append(name)
        if clear_missing and report.orphans:
            report.deleted, report.orphans = report.orphans, []
            PeriodicTask.objects.using(alias).filter(name__in=report.deleted, source=CODE).delete()
        _refresh([row for name, row in stored.items() if name not in report.deleted], alias)
    return report


def _declared_for(alias: str, report: SyncReport) -> dict[str, PeriodicTask]:
    """Name -> the row as it is declared; what cannot be one is reported."""
    rows, found = {}, declarations()
    times = Counter(declaration.key for declaration in found)
    for declaration in found:
        try:
            row = row_of(declaration)
        except ScheduleError as error:
            if queue_alias(declaration.queue_name or DEFAULT_TASK_QUEUE_NAME) == alias:
                report.problems[declaration.key] = str(error)
            continue
        if queue_alias(row.queue_name) != alias:
            continue
        if times[declaration.key] > 1:
            report.problems[declaration.key] = f"{times[declaration.key]} declarations have this key"
            continue
        rows[row.name] = row
    return rows


def row_of(declaration: Declaration) -> PeriodicTask:
    """The row that a declaration asks for, not stored. Raises ScheduleError when its task is not known, or
    its arguments cannot be stored."""
    row = PeriodicTask(
        name=declaration.key,
        cron_expr=declaration.cron_expr,
        every_seconds=declaration.every_seconds,
        timezone=declaration.timezone,
        task_path=declaration.task_path,
        enabled=declaration.enabled,
        catch_up=declaration.catch_up,
        catch_up_limit=declaration.catch_up_limit,
        overlap=declaration.overlap,
        jitter_seconds=declaration.jitter_seconds,
        start_at=declaration.start_at,
        end_at=declaration.end_at,
        source=CODE,
        next_run_at=timezone.now(),
        rebase=True,
    )
    task, backend = task_of(row)
    options = backend.reproq_options
    row.queue_name = declaration.queue_name or task.queue_name
    row.priority = task.priority if declaration.priority is None else declaration.priority
    row.max_attempts = declaration.max_attempts or getattr(task, "max_attempts", None) or options.max_attempts
    try:
        args, kwargs = encode_call(declaration.args, declaration.kwargs, options)
    except TypeError as error:
        raise ScheduleError("args and kwargs", str(error)) from error
    row.payload_json = {"args": args, "kwargs": kwargs}
    return row


def _store(row: PeriodicTask, stored: PeriodicTask | None, report: SyncReport) -> None:
    """Insert or update one row, or say why not."""
    if stored is not None and stored.source != CODE and not _same(row, stored, _KNOWN_BEFORE):
        report.problems[row.name] = (
            "a schedule of that name was made by hand and says something else; delete or rename it, or give "
            "the declaration another key"
        )
        return
    changes = {} if stored is None else _changes(row, stored)
    if (stored is None or changes) and (problems := problems_of(row)):
        report.problems[row.name] = "; ".join(f"{name}: {reason}" for name, reason in problems.items())
        return
    if stored is None:
        fill(row)
        row.options_json = {**(row.options_json or {}), DECLARED_ENABLED: row.enabled}
        # Another deploy may be at it: then that one's row is as good.
        PeriodicTask.objects.using(report.alias).bulk_create([row], ignore_conflicts=True)
        report.created.append(row.name)
    elif changes:
        _write(stored, changes, report.alias)
        report.changed.append(row.name)
    else:
        report.unchanged.append(row.name)


def _same(row: PeriodicTask, stored: PeriodicTask, names: tuple[str, ...]) -> bool:
    return all(getattr(row, name) == getattr(stored, name) for name in names)


def _changes(row: PeriodicTask, stored: PeriodicTask) -> dict[str, Any]:
    """Column -> what it has to become."""
    changes = {name: getattr(row, name) for name in _DECLARED if getattr(row, name) != getattr(stored, name)}
    if stored.source != CODE:
        changes["source"] = CODE
    said = (stored.options_json or {}).get(DECLARED_ENABLED)
    if said is not row.enabled:
        changes["options_json"] = {**(stored.options_json or {}), DECLARED_ENABLED: row.enabled}
        if said is not None and stored.enabled is not row.enabled:
            changes["enabled"] = row.enabled
    return changes


def _refresh(rows: list[PeriodicTask], alias: str) -> None:
    """Store the options of all tasks as the code has them now; those of a task that it does not know stay."""
    for row in rows:
        before = row.options_json
        fill(row)
        if row.options_json != before and (row.options_json or {}).keys() - {DECLARED_ENABLED}:
            _write(row, {"options_json": row.options_json}, alias)


def _write(row: PeriodicTask, changes: dict[str, Any], alias: str) -> None:
    """Update these columns and no others: the scheduler is at work meanwhile."""
    for name, value in changes.items():
        setattr(row, name, value)
    rows = PeriodicTask.objects.using(alias).filter(pk=row.pk)
    rows.update(**changes, updated_at=timezone.now())


def sync_after_migrate(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """``post_migrate`` receiver. Whatever is wrong with the schedules, ``migrate`` goes on: it is logged."""
    wanted = setting("REPROQ_RECURRING_AUTOSYNC") and using in queue_aliases()
    if not wanted or not router.allow_migrate(using, sender.label):
        return
    try:
        report = sync_database(using)
    except Exception as error:  # noqa: BLE001 - the site's modules may raise anything
        words = " ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        _logger.warning(
            "the schedules in the database %r were not brought up to date: %s "
            "Mend it and run `manage.py reproq sync-recurring`.", using, words,
        )  # fmt: skip
        return
    report.log()
    stdout = kwargs.get("stdout")
    if stdout is not None and kwargs.get("verbosity", 1) > 0:
        for line in report.lines():
            stdout.write(f"  Schedule {line}\n")
