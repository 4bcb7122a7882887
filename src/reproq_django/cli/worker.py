"""``reproq worker``: becomes the worker binary, with the site's settings as its environment."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from reproq_django.checks import check_databases
from reproq_django.cli.check import warn_without_backend
from reproq_django.cli.delegate import run_binary
from reproq_django.cli.environment import reproq_backends
from reproq_django.db import default_alias

HELP = "Run a worker for one database."
PASSES_FLAGS = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Only what the binary does not know; its own flags are declared there."""
    parser.add_argument("--database", help="alias in DATABASES of the queues' database")
    parser.add_argument("--queue", help="deprecated: use --queues")


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Exec the binary; from ``call_command``, run it to its end and return its exit code."""
    refuse_bad_settings(command)
    arguments = ["worker", *options["flags"]]
    if options.get("queue"):
        command.stderr.write(command.style.WARNING("--queue is deprecated; use --queues"))
        arguments += ["--queues", options["queue"]]
    return run_binary(command, arguments, alias=options.get("database") or default_alias())


def refuse_bad_settings(command: BaseCommand) -> None:
    """Reproq's own checks, quick and without a database: a setting that is misspelt has no effect, so it is
    better told now."""
    warn_without_backend(command)
    messages = [
        *check_databases(),
        *(message for backend in reproq_backends() for message in backend.check()),
    ]
    messages = [message for message in messages if not message.is_silenced()]
    for message in messages:
        style = command.style.ERROR if message.is_serious() else command.style.WARNING
        command.stderr.write(style(str(message)))
    if any(message.is_serious() for message in messages):
        raise CommandError("the worker was not started; correct the settings that the lines above name")
