"""Schedules: what the code knows of the task of a ``PeriodicTask``, and what is wrong with one.

A scheduler is no part of the site: it reads rows. What a row does not say, the task's timeout and keys for
example, is stored with it as ``options_json`` when it is saved, and anew at each deploy (recurring.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.tasks.base import Task
from django.tasks.exceptions import InvalidTask
from django.utils import timezone

from reproq_django import timetable
from reproq_django.backend import ReproqBackend
from reproq_django.conf import MAX_INT
from reproq_django.db import queue_alias
from reproq_django.discovery import find_task
from reproq_django.errors import ScheduleError
from reproq_django.keys import key_of_run
from reproq_django.serialization import decode_arguments
from reproq_django.spec import build
from reproq_django.status import CatchUp, Overlap

if TYPE_CHECKING:
    from reproq_django.models import PeriodicTask

_logger = logging.getLogger(__name__)

#: Key of ``options_json``: what ``@recurring`` said of ``enabled`` when it was stored last; see recurring.py.
DECLARED_ENABLED: Final = "declared_enabled"

#: A lock of the name's own is an index entry, see ``keys.MAX_KEY_BYTES``.
MAX_NAME_BYTES: Final = 380


def options_of(schedule: PeriodicTask) -> dict[str, Any]:
    """What the task of a schedule wants for its runs, made by the builder that an enqueue uses.

    The scheduler takes it as long as ``task_path`` and ``payload`` are those of the row. A callable key is
    asked now, with the arguments of the payload.

    Raises ScheduleError when there is no such task, when it is not Reproq's or the payload cannot be read,
    and what an enqueue with these arguments raises.
    """
    task, backend = task_of(schedule)
    args, kwargs = arguments_of(schedule)
    spec = build(task, args, kwargs, backend_alias=backend.alias, options=backend.reproq_options)
    if spec.run_after is not None:
        raise ScheduleError("payload_json", "run_after has no meaning here: the schedule says when")
    text = json.loads(spec.spec_json)
    options = {
        "task_path": schedule.task_path,
        "payload": schedule.payload_json,
        "args": text["args"],
        "kwargs": text["kwargs"],
        "takes_context": text["takes_context"],
        "timeout_seconds": spec.timeout_seconds,
        "lock_key": spec.lock_key,
        "concurrency_key": spec.concurrency_key,
        "concurrency_limit": spec.concurrency_limit,
        "over_limit": spec.over_limit,
        "fairness_key": spec.fairness_key,
        "rate_key": spec.rate_key,
        "rate_per_second": spec.rate_per_second,
        "rate_burst": spec.rate_burst,
        "expires_in_seconds": spec.expires_in and spec.expires_in.total_seconds(),
        "backend_alias": spec.backend_alias,
        **text["provenance"],
    }
    if "backoff" in text["exec"]:
        options["backoff"] = text["exec"]["backoff"]
    return options


def fill(schedule: PeriodicTask) -> None:
    """Set ``options_json``; None when the task or its options cannot be had, which is no error: such a row
    runs with the worker's defaults. What ``@recurring`` has said stays."""
    said = (schedule.options_json or {}).get(DECLARED_ENABLED)
    try:
        options = options_of(schedule)
    except Exception as error:  # noqa: BLE001 - the site's modules and callables; a row is never lost for them
        _logger.debug("schedule %s has no options: %s", schedule.name, error)
        schedule.options_json = None if said is None else {DECLARED_ENABLED: said}
        return
    schedule.options_json = options if said is None else {**options, DECLARED_ENABLED: said}


def prepare_to_save(schedule: PeriodicTask, columns: set[str] | None) -> set[str] | None:
    """Bring to a schedule what belongs to what is about to be saved; ``columns``, None for all, grow by it.

    A ``next_run_at`` that the caller has set is a tick itself; one that is empty is computed by the
    scheduler, and nothing fires until then.
    """
    schedule.updated_at = timezone.now()
    more = {"updated_at"}
    # Not read where it is deferred.
    if vars(schedule).get("next_run_at", ...) is None:
        schedule.next_run_at, schedule.rebase = timezone.now(), True
        more |= {"next_run_at", "rebase"}
    elif columns is not None and "next_run_at" in columns & schedule._changed():
        schedule.rebase = False
        more.add("rebase")
    if columns is None or columns & {"task_path", "payload_json"}:
        fill(schedule)
        more.add("options_json")
    return None if columns is None else columns | more


def task_of(schedule: PeriodicTask) -> tuple[Task, ReproqBackend]:
    """The task and its backend.

    Raises ScheduleError when the site has none with that path, or not one of Reproq's, and what a module
    raises while it is imported.
    """
    task = find_task(schedule.task_path)
    if task is None:
        raise ScheduleError(
            "task_path",
            f"{schedule.task_path!r} is no task of this site: it has to be a module-level function under "
            "@task, in a module that the site imports or in the `tasks` module of an installed app",
        )
    backend = task.get_backend()
    if not isinstance(backend, ReproqBackend):
        raise ScheduleError(
            "task_path",
            f"{schedule.task_path} belongs to TASKS[{task.backend!r}], which is not Reproq's, so no worker "
            "would run it; give it a backend that is",
        )
    return task, backend


def arguments_of(schedule: PeriodicTask) -> tuple[list[Any], dict[str, Any]]:
    """(args, kwargs) of the payload, as the task gets them.

    Raises ScheduleError for a payload of another form, InvalidSpec for a value that cannot be turned back.
    """
    payload = schedule.payload_json
    if isinstance(payload, list):
        call: dict[str, Any] = {"args": payload, "kwargs": {}}
    elif isinstance(payload, Mapping) and ("args" in payload or "kwargs" in payload):
        call = {"args": payload.get("args"), "kwargs": payload.get("kwargs")}
        if unknown := payload.keys() - call.keys():
            raise ScheduleError(
                "payload_json", f"{min(unknown)!r} would be lost: beside args and kwargs nothing is read"
            )
    elif isinstance(payload, Mapping):
        call = {"args": [], "kwargs": dict(payload)}
    else:
        raise ScheduleError(
            "payload_json",
            'has to be {"args": [...], "kwargs": {...}}, a list of args or an object of kwargs, '
            f"not {payload!r}",
        )
    return decode_arguments(call, queue_alias(schedule.queue_name))


def problems_of(schedule: PeriodicTask, *, ask: bool = True) -> dict[str, str]:
    """What is wrong with a schedule: field -> the reason. Empty when it can fire.

    Args:
        ask: have the binary, where there is one, read ``cron_expr`` and ``timezone``.
    """
    problems = _problems_of_numbers(schedule) | _problems_of_times(schedule)
    if ask and "cron_expr" not in problems:
        problems |= timetable.problems(schedule.cron_expr, schedule.timezone)
    try:
        _problems_of_task(schedule)
    except ScheduleError as error:
        problems.setdefault(error.field, error.reason)
    return problems


def _problems_of_numbers(schedule: PeriodicTask) -> dict[str, str]:
    problems = {}
    least = {
        "priority": -MAX_INT, "max_attempts": 1, "concurrency_limit": 0, "jitter_seconds": 0,
        "catch_up_limit": 1,
    }  # fmt: skip
    if schedule.every_seconds is not None:
        least["every_seconds"] = 1
    for name, lowest in least.items():
        value = getattr(schedule, name)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= MAX_INT:
            problems[name] = f"has to be a whole number from {lowest} to {MAX_INT}, not {value!r}"
    for name, choices in (("catch_up", CatchUp), ("overlap", Overlap)):
        value = getattr(schedule, name)
        if value not in choices.values:
            problems[name] = f"has to be one of {', '.join(choices.values)}, not {value!r}"
    if not schedule.name or len(schedule.name.encode()) > MAX_NAME_BYTES:
        problems["name"] = f"has to have from 1 to {MAX_NAME_BYTES} bytes"
    try:
        key_of_run("concurrency_key", schedule.concurrency_key, [], {})
    except InvalidTask as error:
        problems["concurrency_key"] = str(error)
    return problems


def _problems_of_times(schedule: PeriodicTask) -> dict[str, str]:
    problems = {}
    if schedule.cron_expr and schedule.every_seconds is not None:
        problems["cron_expr"] = "a schedule has cron_expr or every_seconds, and this one has both"
    elif not schedule.cron_expr and schedule.every_seconds is None:
        problems["cron_expr"] = (
            "a schedule needs cron_expr or every_seconds, and this one has neither; "
            'give it for example "0 2 * * *"'
        )
    for name in ("start_at", "end_at"):
        value = getattr(schedule, name)
        if value is not None and not isinstance(value, datetime):
            problems[name] = f"has to be a datetime, not {value!r}"
        elif value is not None and settings.USE_TZ and timezone.is_naive(value):
            problems[name] = "has to be an aware datetime"
    start, end = schedule.start_at, schedule.end_at
    if not problems.keys() & {"start_at", "end_at"} and start and end and end <= start:
        problems["end_at"] = "is not after start_at, so the schedule would never fire"
    return problems


def _problems_of_task(schedule: PeriodicTask) -> None:
    """Raises ScheduleError for the first thing that is wrong with the task, the queue or the payload."""
    try:
        task, _ = task_of(schedule)
    except ScheduleError:
        raise
    except Exception as error:
        raise ScheduleError("task_path", _words(error)) from error
    try:
        replace(task, queue_name=schedule.queue_name)
    except InvalidTask as error:
        raise ScheduleError("queue_name", str(error)) from error
    home = schedule._state.db
    if home is not None and home != queue_alias(schedule.queue_name):
        raise ScheduleError(
            "queue_name",
            f"the queue {schedule.queue_name!r} lives in the database {queue_alias(schedule.queue_name)!r}, "
            f"so a schedule in {home!r} would feed it to nobody; store the schedule there",
        )
    try:
        options_of(schedule)
    except ScheduleError:
        raise
    except Exception as error:
        raise ScheduleError("payload_json", _words(error)) from error


def _words(error: Exception) -> str:
    return " ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
