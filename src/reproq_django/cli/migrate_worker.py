"""``reproq migrate-worker``: brings the schema of every queue database up to date in place."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand
from django.db import connections

from reproq_django import schema
from reproq_django.db import queue_aliases

HELP = "Bring Reproq's tables up to date in every queue database; safe to run again."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """None: every queue database is meant."""


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Apply the schema; it is idempotent, so a database that is current stays as it is."""
    for alias in queue_aliases():
        connection = connections[alias]
        before = schema.is_current(connection)
        schema.apply_schema(connection)
        command.stdout.write(f"{alias}: {'already up to date' if before else 'brought up to date'}")
    return 0
