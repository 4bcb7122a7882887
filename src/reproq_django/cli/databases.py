"""The databases that a command is about."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand

from reproq_django.cli.delegate import run_binary
from reproq_django.conf import setting
from reproq_django.db import default_alias, queue_aliases


def add_database_arguments(parser: argparse.ArgumentParser) -> None:
    """``--database`` and ``--all-databases``."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--database", help="alias in DATABASES; otherwise REPROQ_STATS_DATABASES decides")
    group.add_argument("--all-databases", action="store_true", help="every database that holds queues")


def chosen(options: dict[str, Any]) -> list[str]:
    """The aliases that the options, then ``REPROQ_STATS_DATABASES`` name; else the default one."""
    if options.get("database"):
        return [str(options["database"])]
    wanted = setting("REPROQ_STATS_DATABASES")
    if options.get("all_databases") or wanted == "*" or (wanted and "*" in wanted):
        return queue_aliases()
    return [wanted] if isinstance(wanted, str) else list(wanted or [default_alias()])


def run_for_each(command: BaseCommand, name: str, options: dict[str, Any]) -> int:
    """Run ``reproq <name>`` against each chosen database; returns the first exit code that is not 0."""
    return run_in(command, chosen(options), [name, *options["flags"]])


def run_in(command: BaseCommand, aliases: Sequence[str], arguments: Sequence[str]) -> int:
    """Run ``reproq <arguments>`` against each of the databases; returns the first exit code that is not 0."""
    codes = []
    for alias in aliases:
        if len(aliases) > 1 and "--json" not in arguments:
            command.stdout.write(command.style.MIGRATE_HEADING(f"Database {alias}"))
        codes.append(run_binary(command, arguments, alias=alias, replace=len(aliases) == 1))
    return next((code for code in codes if code), 0)
