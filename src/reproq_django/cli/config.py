"""``reproq config``: what the worker would be started with, and where each value comes from."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand

from reproq_django.cli.delegate import run_binary
from reproq_django.db import default_alias

HELP = "Show the worker's configuration for this site, secrets masked; --explain says where it comes from."
PASSES_FLAGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Only the alias; ``--explain``, ``--json`` and the rest are the binary's."""
    parser.add_argument("--database", help="alias in DATABASES of the queues' database")


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Exec ``reproq config``."""
    return run_binary(
        command, ["config", *options["flags"]], alias=options.get("database") or default_alias()
    )
