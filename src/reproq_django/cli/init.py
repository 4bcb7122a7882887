"""``reproq init``: from a fresh project to one whose worker starts. Safe to run again."""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, OutputWrapper

from reproq_django import binary
from reproq_django.cli import install, migrate_worker
from reproq_django.cli.environment import CONFIG_NAMES, reproq_backends
from reproq_django.db import queue_aliases

HELP = "Prepare this project: a small config file, the database tables, the worker binary."

SETTINGS_LINES = 'TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend"}}'

#: Defaults as comments: nothing here is made up, least of all an address or a worker's name.
CONFIG_TEXTS = {
    "yaml": """\
# The worker's configuration; `manage.py reproq config --explain` says where each value comes from.
# The database comes from the Django settings.
worker:
  concurrency: 10
  # queues: [default]
  # executor_mode: pool
  # logs: database
  # Fire schedules as well; any number of workers may, and each time fires once.
  # beat: true
""",
    "toml": """\
# The worker's configuration; `manage.py reproq config --explain` says where each value comes from.
# The database comes from the Django settings.
[worker]
concurrency = 10
# queues = ["default"]
# executor_mode = "pool"
# logs = "database"
# Fire schedules as well; any number of workers may, and each time fires once.
# beat = true
""",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to leave out, and what ``install`` takes."""
    parser.add_argument(
        "--config", type=Path, help="config file to write (default: reproq.yaml or reproq.toml)"
    )
    parser.add_argument(
        "--format", choices=sorted(CONFIG_TEXTS), help="format of the config file (default: by its name)"
    )
    parser.add_argument("--skip-install", action="store_true", help="do not look for the worker binary")
    parser.add_argument("--skip-migrate", action="store_true", help="do not run migrate")
    parser.add_argument("--skip-worker-migrate", action="store_true", help="do not run migrate-worker")
    install.add_arguments(parser)


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Do each step that is not done yet, and say what is left for the operator."""
    _write_config(command, options)
    if not options["skip_migrate"]:
        for alias in queue_aliases():
            call_command(
                "migrate",
                database=alias,
                interactive=False,
                verbosity=options["verbosity"],
                stdout=_Through(command.stdout),
                stderr=_Through(command.stderr),
            )
    if not options["skip_worker_migrate"]:
        migrate_worker.run(command, options)
    if not options["skip_install"]:
        _install_if_missing(command, options)
    if not reproq_backends():
        command.stdout.write("\nTo send tasks to Reproq, add to the settings:\n\n" + SETTINGS_LINES)
    command.stdout.write(
        "\nStart a worker with `manage.py reproq worker`; with --beat it fires schedules as well."
    )
    return 0


class _Through(io.TextIOBase):
    """A stream for another command's output: Django's wrapper around a wrapper would end each piece twice."""

    def __init__(self, wrapper: OutputWrapper) -> None:
        self._wrapper = wrapper

    def write(self, text: str) -> int:
        """Pass ``text`` on as it is."""
        self._wrapper.write(text, ending="")
        return len(text)


def _write_config(command: BaseCommand, options: dict[str, Any]) -> None:
    path: Path | None = options["config"]
    kind = options["format"] or ("toml" if path is not None and path.suffix == ".toml" else "yaml")
    if path is None:
        present = next((Path(name) for name in CONFIG_NAMES if Path(name).exists()), None)
        if present is not None and not options["force"]:
            command.stdout.write(f"{present} is there already; left alone")
            return
        path = Path(f"reproq.{kind}")
    if path.exists() and not options["force"]:
        command.stdout.write(f"{path} is there already; left alone")
        return
    path.write_text(CONFIG_TEXTS[kind], encoding="utf-8")
    command.stdout.write(f"{path} written")


def _install_if_missing(command: BaseCommand, options: dict[str, Any]) -> None:
    asked_for = options["build"] or options["source"] or options["tag"]
    if not asked_for:
        try:
            command.stdout.write(f"worker binary: {binary.find_matching()}")
        except binary.BinaryError as error:
            command.stderr.write(command.style.WARNING(str(error)))
        else:
            return
    # --force is about the config file here.
    install.run(command, options | {"force": False})
