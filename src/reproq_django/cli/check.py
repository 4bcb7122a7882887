"""``reproq check``: would a worker of this site start and work?"""

from __future__ import annotations

import argparse
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.management.base import BaseCommand
from django.db import DatabaseError, connections

from reproq_django import binary, schema
from reproq_django.cli.environment import database_url, site_queues, task_modules
from reproq_django.db import queue_aliases

HELP = "Check settings, database schema and worker binary; exits with 1 when a worker would not start."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None."""


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Print one line per finding; 1 if any is an error."""
    results = [
        _settings(command),
        _binary(command),
        *(_database(command, alias) for alias in queue_aliases()),
    ]
    command.stdout.write(f"tasks: {', '.join(task_modules()) or 'no module holds any'}")
    return 0 if all(results) else 1


def _settings(command: BaseCommand) -> bool:
    messages = checks.run_checks(app_configs=[apps.get_app_config("reproq_django")])
    for message in messages:
        style = command.style.ERROR if message.is_serious() else command.style.WARNING
        command.stdout.write(style(f"settings: {message}"))
    serious = any(message.is_serious() for message in messages)
    if not messages:
        _good(command, "settings: no problem found")
    return not serious


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


def _good(command: BaseCommand, text: str) -> bool:
    command.stdout.write(command.style.SUCCESS(text))
    return True


def _bad(command: BaseCommand, text: str) -> bool:
    command.stdout.write(command.style.ERROR(text))
    return False
