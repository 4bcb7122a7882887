"""``reproq stats``: counts of runs by queue and state."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand

from reproq_django.cli.databases import add_database_arguments, run_for_each

HELP = "Count runs by queue and state; --json for programs."
PASSES_FLAGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which databases to ask."""
    add_database_arguments(parser)


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Run ``reproq stats`` for each database."""
    return run_for_each(command, "stats", options)
