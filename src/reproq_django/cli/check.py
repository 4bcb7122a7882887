"""``reproq check``: would a worker of this site start and work?"""

from __future__ import annotations

import argparse
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections

from reproq_django import binary, schema
from reproq_django.checks import check_stored_schedules
from reproq_django.cli.environment import database_url, reproq_backends, site_queues
from reproq_django.cli.init import SETTINGS_LINES
from reproq_django.db import queue_aliases
from reproq_django.discovery import task_modules
from reproq_django.models import PeriodicTask

HELP = "Check settings, database schema and worker binary; exits with 1 when a worker would not start."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Print one line per finding; 1 if any is an error."""
    results = [
        _settings(command),
        _tasks(command),
        _binary(command),
        *(_database(command, alias) and _schedules(command, alias) for alias in queue_aliases()),
    ]
    if not all(results):
        raise CommandError("a worker of this site would not work; the lines above say why")
    return 0


def warn_without_backend(command: BaseCommand) -> None:
    """Say so when nothing that the site enqueues can come to a worker."""
    if not reproq_backends():
        command.stderr.write(
            command.style.WARNING(
                "no entry of TASKS uses Reproq, so what this site enqueues never gets to a worker; "
                f"add to the settings:\n  {SETTINGS_LINES}"
            )
        )


def _settings(command: BaseCommand) -> bool:
    warn_without_backend(command)
    try:
        messages = checks.run_checks(app_configs=[apps.get_app_config("reproq_django")])
    except Exception as error:  # noqa: BLE001 - checks import the site's code, which may raise anything
        return _bad(command, f"settings: the checks cannot run: {_words(error)}")
    for message in messages:
        style = command.style.ERROR if message.is_serious() else command.style.WARNING
        command.stdout.write(style(f"settings: {message}"))
    serious = any(message.is_serious() for message in messages)
    if not messages:
        _good(command, "settings: no problem found")
    return not serious


def _tasks(command: BaseCommand) -> bool:
    try:
        modules = task_modules()
    except Exception as error:  # noqa: BLE001 - the site's code may raise anything
        return _bad(command, f"tasks: {_words(error)}")
    return _good(command, f"tasks: {', '.join(modules) or 'no module holds any'}")


def _words(error: Exception) -> str:
    """The error in a line, its notes below."""
    return "\n  ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])


def _binary(command: BaseCommand) -> bool:
    try:
        path = binary.find_matching()
    except binary.BinaryError as error:
        return _bad(command, f"binary: {error}")
    return _good(command, f"binary: {path}, version {binary.version_of(path)}")


def _database(command: BaseCommand, alias: str) -> bool:
    try:
        database_url(alias)
        current = schema.is_current(connections[alias])
    except DatabaseError as error:
        return _bad(command, f"database {alias}: {error}".rstrip())
    if not current:
        return _bad(command, f"database {alias}: the schema is missing or old; run `manage.py migrate`")
    return _good(
        command, f"database {alias}: schema is current; queues {', '.join(site_queues(alias)) or 'none'}"
    )


def _schedules(command: BaseCommand, alias: str) -> bool:
    """Those that are stored, and the expressions of those that the code declares: the binary reads them."""
    messages = check_stored_schedules(databases=[alias])
    for message in messages:
        _bad(command, f"schedules {alias}: {message.msg}")
    if messages:
        return False
    stored = PeriodicTask.objects.using(alias).filter(enabled=True).count()
    return _good(command, f"schedules {alias}: {stored} enabled, no problem found")


def _good(command: BaseCommand, text: str) -> bool:
    command.stdout.write(command.style.SUCCESS(text))
    return True


def _bad(command: BaseCommand, text: str) -> bool:
    command.stdout.write(command.style.ERROR(text))
    return False
