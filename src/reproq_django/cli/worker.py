"""``reproq worker``: becomes the worker binary, with the site's settings as its environment."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand

from reproq_django.cli.delegate import run_binary
from reproq_django.db import default_alias

HELP = "Run a worker for one database. All flags of `reproq worker --help` (the binary) work here too."
PASSES_FLAGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Only what the binary does not know; its own flags are declared there."""
    parser.add_argument("--database", help="alias in DATABASES of the queues' database")
    parser.add_argument("--queue", help="deprecated: use --queues")


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Exec the binary; from ``call_command``, run it to its end and return its exit code."""
    arguments = ["worker", *options["flags"]]
    if options.get("queue"):
        command.stderr.write(command.style.WARNING("--queue is deprecated; use --queues"))
        arguments += ["--queues", options["queue"]]
    return run_binary(command, arguments, alias=options.get("database") or default_alias())
