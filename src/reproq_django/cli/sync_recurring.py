"""``reproq sync-recurring``: stores the schedules that the code declares, as ``migrate`` does."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from reproq_django import schema
from reproq_django.db import queue_aliases
from reproq_django.sync import sync_database

HELP = "Store the schedules that @recurring declares; exits with 1 when one of them cannot be stored."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where, and what becomes of schedules that nothing declares any more."""
    parser.add_argument("--database", help="alias in DATABASES; otherwise every database that holds queues")
    parser.add_argument(
        "--clear-missing", action="store_true", help="delete what the code has declared once and does no more"
    )


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Sync each database and say what was done; 1 when a declaration could not be followed."""
    failed = False
    for alias in [options["database"]] if options["database"] else queue_aliases():
        if alias not in connections.settings:
            raise CommandError(f"there is no database {alias!r} in DATABASES")
        if not schema.is_current(connections[alias]):
            raise CommandError(f"database {alias}: the schema is missing or old; run `manage.py migrate`")
        report = sync_database(alias, clear_missing=options["clear_missing"])
        for line in report.lines():
            command.stdout.write(f"{alias}: {line}")
        for warning in report.warnings():
            command.stderr.write(command.style.WARNING(f"{alias}: {warning}"))
        command.stdout.write(
            f"{alias}: {report.count} declared schedules are stored, {len(report.problems)} are not"
        )
        failed = failed or bool(report.problems)
    return int(failed)
