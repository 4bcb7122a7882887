"""The operator's commands: each is the binary's, asked in the right database.

Flags, output and exit codes are declared in ``crates/reproq/src/cli/operator.rs``; what is added here is
only what the binary cannot know, namely which of the site's databases a command is about.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from reproq_django.cli.databases import chosen, run_in
from reproq_django.db import default_alias, queue_alias, queue_aliases
from reproq_django.models import PeriodicTask

_RESULT_ID = re.compile(
    r"(?:--?id=)?(?P<alias>.+):(?:\d+|[0-9a-fA-F]{8}(?:-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12})"
)


def _by_id(flags: Sequence[str]) -> list[str]:
    """A result id may name its database (``default:12``), and so may a workflow's."""
    for flag in flags:
        if (found := _RESULT_ID.fullmatch(flag)) and found["alias"] in settings.DATABASES:
            return [found["alias"]]
    return [default_alias()]


def _by_scope(flags: Sequence[str]) -> list[str]:
    """A queue lives in one database, the runs of a task may be in all."""
    queue = _value(flags, "queue")
    return [queue_alias(queue)] if queue else queue_aliases()


def _by_queue(flags: Sequence[str]) -> list[str]:
    """``pause-queue <queue>``: the first word that is no flag."""
    queues = [flag for flag in flags if not flag.startswith("-")]
    return [queue_alias(queues[0])] if queues else [default_alias()]


def _by_schedule(flags: Sequence[str]) -> list[str]:
    """``periodic list`` is about all that ``status`` shows, ``periodic show <name>`` about where that is."""
    words = [flag for flag in flags if not flag.startswith("-")]
    if len(words) < 2:
        return chosen({})
    # With one database there is nothing to ask it.
    aliases = queue_aliases()
    found = [alias for alias in aliases if len(aliases) > 1 and _has_schedule(alias, words[1])]
    return found[:1] or [default_alias()]


def _has_schedule(alias: str, name: str) -> bool:
    return PeriodicTask.objects.using(alias).filter(name=name).exists()


def _default(flags: Sequence[str]) -> list[str]:
    return [default_alias()]


def _shown(flags: Sequence[str]) -> list[str]:
    """As ``status`` and ``stats``."""
    return chosen({})


def _value(flags: Sequence[str], name: str) -> str:
    """The value of ``--name``, in either spelling; empty when it is not there."""
    for place, flag in enumerate(flags):
        if flag in (f"--{name}", f"-{name}") and place + 1 < len(flags):
            return flags[place + 1]
        if flag.startswith((f"--{name}=", f"-{name}=")):
            return flag.partition("=")[2]
    return ""


@dataclass(frozen=True)
class Delegated:
    """A subcommand that hands its flags to the binary's command of the same name."""

    name: str
    HELP: str
    #: The databases that the flags are about, unless --database says so.
    databases: Callable[[Sequence[str]], list[str]] = _default
    #: Whether it makes sense in several databases: then it has --all-databases.
    in_all: bool = False
    PASSES_FLAGS: bool = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Only what the binary does not know."""
        group = parser.add_mutually_exclusive_group()
        group.add_argument(
            "--database", help="alias in DATABASES; otherwise the flags or the settings decide"
        )
        if self.in_all:
            group.add_argument(
                "--all-databases", action="store_true", help="every database that holds queues"
            )

    def run(self, command: BaseCommand, options: dict[str, Any]) -> int:
        """Run the binary; its exit code."""
        flags = options["flags"]
        if options.get("database"):
            aliases = [str(options["database"])]
        elif options.get("all_databases"):
            aliases = queue_aliases()
        else:
            aliases = self.databases(flags)
        return run_in(command, aliases, [self.name, *flags])


#: In the order of `reproq --help`.
COMMANDS = {
    delegated.name: delegated
    for delegated in (
        Delegated("why", "Say why a run has not started or not ended, and what to do.", _by_id),
        Delegated(
            "attempts", "Show how each attempt of a run has ended, and what the running one is at.", _by_id
        ),
        Delegated(
            "logs", "Show what the attempts of a run have printed; -f goes on until it has ended.", _by_id
        ),
        Delegated("cancel", "Cancel a run: at once if it has not started, else its worker stops it.", _by_id),
        Delegated("pause", "Let no run of a queue or task start: --queue or --task.", _by_scope),
        Delegated("resume", "End a pause: --queue or --task.", _by_scope),
        Delegated("pause-queue", "The same as `pause --queue`.", _by_queue),
        Delegated("resume-queue", "The same as `resume --queue`.", _by_queue),
        Delegated("queues", "Show queues, what they hold, and whether they are paused.", _shown, in_all=True),
        Delegated("limit", "Rates, and how many runs of a key run at the same time: set, ls, rm."),
        Delegated("reschedule", "Move the time of a run that has not started: --in, --at or --now.", _by_id),
        Delegated("replay", "Enqueue the call of a run again: --id or --spec-hash.", _by_id),
        Delegated("triage", "Look at FAILED runs and try them again: list, inspect, retry.", _by_id),
        Delegated("workflow", "Look at runs that wait for each other: show, cancel, retry.", _by_id),
        Delegated("beat", "Fire schedules, beside any number of others that do; --once looks once."),
        Delegated("schedule", "The same as `beat --once`.", in_all=True),
        Delegated("cron", 'Read a cron expression: `cron next "0 2 * * *" --tz Europe/Prague --count 3`.'),
        Delegated(
            "periodic",
            "Schedules: list, show, run, enable, disable; show tells what came of them.",
            _by_schedule,
        ),
        Delegated("reclaim", "Take back runs whose worker has gone silent.", in_all=True),
        Delegated(
            "prune",
            "Delete old runs that have ended; `prune expired`: expired ones, `prune logs`: old output.",
            in_all=True,
        ),
        Delegated("prune-successful", "Delete old SUCCESSFUL runs.", in_all=True),
        Delegated("prune-workers", "Forget workers that have been silent.", in_all=True),
    )
}
