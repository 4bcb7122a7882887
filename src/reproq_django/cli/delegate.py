"""Starting the binary with the site's environment: by exec from a terminal, else as a child."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from reproq_django import binary
from reproq_django.cli.environment import worker_environment

_from_command_line: ContextVar[bool] = ContextVar("reproq_from_command_line", default=False)


@contextmanager
def called_from_command_line(value: bool) -> Iterator[None]:
    """Say for the time of one command whether the process is its own, so that it may be replaced."""
    token = _from_command_line.set(value)
    try:
        yield
    finally:
        _from_command_line.reset(token)


def run_binary(
    command: BaseCommand,
    arguments: Sequence[str],
    *,
    alias: str,
    replace: bool = True,
    development: bool = False,
) -> int:
    """Run ``reproq <arguments>`` against the database ``alias``; returns its exit code, or never returns.

    Args:
        replace: from a terminal, become the binary: signals then reach the worker itself, and nothing of
        Django stays.
        development: for a site whose tasks come and go while the binary runs.

    Raises:
        CommandError: the binary is missing or of another version.
    """
    try:
        path = str(binary.find_matching())
    except binary.BinaryError as error:
        raise CommandError(str(error)) from error
    environment = worker_environment(alias, arguments, development=development)
    command.stdout.flush()
    command.stderr.flush()
    connections.close_all()
    if replace and _from_command_line.get():
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(path, [path, *arguments], environment)  # noqa: S606 - the binary that find_matching vouches for
    return subprocess.run([path, *arguments], env=environment, check=False).returncode  # noqa: S603 - as above
