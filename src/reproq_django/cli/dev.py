"""``reproq dev``: the web server and a worker, both with the code as it is saved, in one console."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from reproq_django.cli.delegate import run_binary
from reproq_django.cli.worker import refuse_bad_settings
from reproq_django.db import default_alias

HELP = (
    "Run runserver and a worker, which fires schedules as well, in one console, both with the code as it is "
    "saved; for development. "
    "What stands after -- are flags of the worker."
)
#: What stands after ``--`` is the binary's.
PASSES_REST = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """runserver's address, and which parts run."""
    parser.add_argument("addrport", nargs="?", help="port, or address:port, of runserver")
    parser.add_argument("--no-web", action="store_true", help="run the worker alone")
    parser.add_argument("--database", help="alias in DATABASES of the queues' database")


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Exec the binary; from ``call_command``, run it to its end and return its exit code."""
    if not settings.DEBUG:
        raise CommandError(
            "dev is for development, and these settings have DEBUG = False; "
            "elsewhere run `manage.py reproq worker` beside your web server"
        )
    refuse_bad_settings(command)
    arguments = ["dev", *(f"--manage={word}" for word in _manage_words())]
    if options["no_web"]:
        arguments.append("--no-web")
    if options["addrport"]:
        arguments.append(options["addrport"])
    arguments += ["--", *options["flags"]]
    return run_binary(command, arguments, alias=options.get("database") or default_alias(), development=True)


def _manage_words() -> list[str]:
    """What runs Django's commands, after the interpreter: the program that runs this one."""
    program = Path(sys.argv[0])
    # `python -m django`: as a file it would find its own folder's modules for those of Python.
    return ["-m", "django"] if program.name == "__main__.py" else [str(program)]
