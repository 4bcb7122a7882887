"""System checks, each with an id and a hint.

========== ==================================================================
reproq.E001 a key of OPTIONS is not known
reproq.E002 a value of OPTIONS has the wrong type
reproq.E003 ``reproq_django`` is not in INSTALLED_APPS
reproq.E004 a queue database is not in DATABASES
reproq.E005 a queue database is neither PostgreSQL nor SQLite
reproq.W001 SQLite without ``transaction_mode`` IMMEDIATE
reproq.W002 the schema is out of date (``check --database``)
reproq.W003 a queue database cannot be reached (``check --database``)
reproq.W004 a module of tasks cannot be imported, so its schedules are not known
reproq.W005 two declared schedules have one key
reproq.W006 a declared schedule cannot fire (what its expression says: ``check --database``)
reproq.W007 a stored schedule cannot fire (``check --database``)
========== ==================================================================

Mistakes in schedules are warnings: an error would keep ``migrate`` from running.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning
from django.db import Error as DatabaseError
from django.db import connections

from reproq_django.conf import OPTION_NAMES, option_problems
from reproq_django.db import queue_alias, queue_aliases


def check_backend(alias: str, options: Mapping[str, Any]) -> list[CheckMessage]:
    """Checks of one entry of TASKS, run by Django through ``ReproqBackend.check``."""
    messages: list[CheckMessage] = []
    for key, problem in option_problems(options):
        known = key in OPTION_NAMES
        messages.append(
            Error(
                f'TASKS[{alias!r}]["OPTIONS"][{key!r}] {problem}.',
                hint=None if known else f"Known keys: {', '.join(sorted(OPTION_NAMES))}.",
                id="reproq.E002" if known else "reproq.E001",
            )
        )
    if not apps.is_installed("reproq_django"):
        messages.append(
            Error(
                "reproq_django is not installed.",
                hint='Add "reproq_django" to INSTALLED_APPS.',
                id="reproq.E003",
            )
        )
    return messages


def check_databases(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Checks of the settings of the queue databases; nothing is connected to."""
    messages: list[CheckMessage] = []
    for alias in queue_aliases():
        if alias not in connections.settings:
            messages.append(
                Error(
                    f"The queue database {alias!r} is not in DATABASES.",
                    hint="Correct REPROQ_QUEUE_DATABASES or REPROQ_DEFAULT_DB_ALIAS.",
                    id="reproq.E004",
                )
            )
            continue
        messages += _check_database(alias)
    return messages


def _check_database(alias: str) -> list[CheckMessage]:
    connection = connections[alias]
    if connection.vendor not in ("postgresql", "sqlite"):
        return [
            Error(
                f"Reproq cannot keep runs in the {connection.display_name} database {alias!r}.",
                hint="Point REPROQ_DEFAULT_DB_ALIAS or REPROQ_QUEUE_DATABASES at PostgreSQL or SQLite.",
                id="reproq.E005",
            )
        ]
    mode = str(connection.settings_dict.get("OPTIONS", {}).get("transaction_mode") or "")
    if connection.vendor == "sqlite" and mode.upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        return [
            Warning(
                f"The SQLite database {alias!r} begins its transactions without a write lock.",
                hint='Set DATABASES[alias]["OPTIONS"]["transaction_mode"] = "IMMEDIATE". Else a transaction '
                'that reads and then enqueues fails with "database is locked" while the worker writes.',
                id="reproq.W001",
            )
        ]
    return []


def check_schema(
    app_configs: Sequence[Any] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Is the schema the one of this version? For ``check --database``.

    Django runs it before each ``migrate`` too, so a database without any schema is no reason to warn.
    """
    from reproq_django.schema import SCHEMA_VERSION, installed_version, is_installed

    messages: list[CheckMessage] = []
    for alias in set(databases or ()) & set(queue_aliases()) & set(connections.settings):
        if connections[alias].vendor not in ("postgresql", "sqlite"):
            continue
        try:
            version = installed_version(connections[alias])
            missing = version is None and not is_installed(connections[alias])
        except DatabaseError as error:
            messages.append(
                Warning(f"The queue database {alias!r} cannot be read: {error}", id="reproq.W003")
            )
            continue
        if version != SCHEMA_VERSION and not missing:
            messages.append(
                Warning(
                    f"The queue database {alias!r} has Reproq's schema {version or 'of the earlier system'}, "
                    f"not {SCHEMA_VERSION}.",
                    hint="Run manage.py migrate" + ("." if alias == "default" else f" --database {alias}."),
                    id="reproq.W002",
                )
            )
    return messages


def check_schedules(app_configs: Sequence[Any] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Checks of what ``@recurring`` declares, as far as no database and no binary has to be asked."""
    from reproq_django.discovery import task_modules
    from reproq_django.recurring import declarations

    try:
        task_modules()
    except Exception as error:  # noqa: BLE001 - the site's modules may raise anything
        words = " ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        return [Warning(f"The declared schedules are not known: {words}", id="reproq.W004")]
    paths: dict[str, list[str]] = {}
    for declaration in declarations():
        paths.setdefault(declaration.key, []).append(declaration.task_path)
    return [
        *(
            Warning(
                f"The key {key!r} belongs to several schedules, of {' and '.join(several)}.",
                hint="Give each @recurring a key of its own; until then none of these is stored.",
                id="reproq.W005",
            )
            for key, several in paths.items()
            if len(several) > 1
        ),
        *_check_declared(ask=False),
    ]


def check_stored_schedules(
    app_configs: Sequence[Any] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Checks of the rows, and of the expressions that the code declares. For ``check --database``."""
    from reproq_django.models import PeriodicTask
    from reproq_django.schema import is_current

    messages: list[CheckMessage] = []
    for alias in sorted(set(databases or ()) & set(queue_aliases()) & set(connections.settings)):
        try:
            if connections[alias].vendor not in ("postgresql", "sqlite") or not is_current(
                connections[alias]
            ):
                continue
            stuck = PeriodicTask.objects.using(alias).filter(enabled=True, problem__isnull=False)
            found = list(stuck.values_list("name", "problem"))
        except DatabaseError:
            continue  # check_schema says so
        messages += [
            Warning(f"The schedule {name!r} in {alias!r} cannot fire: {problem}", id="reproq.W007")
            for name, problem in found
        ]
        known = _check_declared(alias, ask=False)
        messages += [message for message in _check_declared(alias, ask=True) if message not in known]
    return messages


def _check_declared(alias: str | None = None, *, ask: bool) -> list[CheckMessage]:
    """A message for each declaration that no row can follow; only of the queues of the database ``alias``."""
    from reproq_django.errors import ScheduleError
    from reproq_django.recurring import declarations
    from reproq_django.schedules import problems_of
    from reproq_django.sync import row_of

    messages: list[CheckMessage] = []
    for declaration in declarations():
        try:
            row = row_of(declaration)
        except ScheduleError as error:
            problems = {error.field: error.reason}
        else:
            problems = problems_of(row, ask=ask) if alias in (None, queue_alias(row.queue_name)) else {}
        messages += [
            Warning(
                f"The schedule {declaration.key!r} of {declaration.task_path} cannot fire: {name}: {reason}.",
                id="reproq.W006",
            )
            for name, reason in problems.items()
        ]
    return messages
