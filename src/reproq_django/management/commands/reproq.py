"""``manage.py reproq <subcommand>``: parses and delegates to ``reproq_django.cli``.

A subcommand is a module there; all of an operator's are in one, since the binary does their work."""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from reproq_django import binary
from reproq_django.cli import (
    check,
    config,
    dev,
    init,
    install,
    migrate_worker,
    operate,
    pg_cron,
    stats,
    status,
    sync_recurring,
    worker,
)
from reproq_django.cli.delegate import called_from_command_line

#: In the order in which a newcomer meets them.
SUBCOMMANDS: dict[str, Any] = {
    "init": init,
    "install": install,
    "dev": dev,
    "worker": worker,
    "migrate-worker": migrate_worker,
    "check": check,
    "status": status,
    "stats": stats,
    "config": config,
    "sync-recurring": sync_recurring,
    "pg-cron": pg_cron,
    **operate.COMMANDS,
}


class Command(BaseCommand):
    """Finds the subcommand's module and runs it."""

    help = "Runs and sets up Reproq's workers. Each subcommand has its own --help."
    # `init` has to work in a site that is not ready yet; `check` runs the checks itself.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """The usual parser, but one that hands unknown flags to subcommands that pass them to the binary."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.__class__ = _PassingParser
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """One subparser per module; Django's own options work before and after the subcommand."""
        subparsers = parser.add_subparsers(dest="subcommand", metavar="subcommand", required=True)
        for name, module in SUBCOMMANDS.items():
            subparser = subparsers.add_parser(
                name,
                help=module.HELP,
                description=module.HELP,
                parents=[_django_options()],
                allow_abbrev=False,
                add_help=not _passes_flags(module),
            )
            module.add_arguments(subparser)
            if _passes_flags(module):
                subparser.add_argument(
                    "-h", "--help", action=_WholeHelp, nargs=0, help="show this, and the flags of the binary"
                )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the subcommand; its exit code, when it is not 0, becomes a CommandError with that code."""
        module = SUBCOMMANDS[options["subcommand"]]
        with called_from_command_line(getattr(self, "_called_from_command_line", False)):
            code = module.run(self, options)
        if code:
            raise CommandError(f"reproq {options['subcommand']} ended with exit code {code}", returncode=code)


def _passes_flags(module: Any) -> bool:
    return getattr(module, "PASSES_FLAGS", False)


def _passes_rest(module: Any) -> bool:
    return getattr(module, "PASSES_REST", False)


class _WholeHelp(argparse.Action):
    """Our own options, then those of the binary, which declares the rest."""

    def __call__(self, parser: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> None:
        parser.print_help()
        sys.stdout.flush()
        try:
            command = [str(binary.find()), parser.prog.split()[-1], "--help"]
        except binary.BinaryError as error:
            parser.exit(1, f"\n{error}\n")
        print("\nAnd the flags of the binary:\n", flush=True)
        parser.exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - the worker binary


class _PassingParser(CommandParser):
    """A parser whose result has what it did not know as ``flags``, where the subcommand takes that."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        rest = list(sys.argv[1:] if args is None else args)
        if "--" in rest and any(name in rest for name, each in SUBCOMMANDS.items() if _passes_rest(each)):
            place = rest.index("--")
            args, rest = rest[:place], rest[place + 1 :]
        else:
            rest = []
        options, flags = self.parse_known_args(args, namespace)
        module = SUBCOMMANDS[options.subcommand]
        if rest and not _passes_rest(module):
            self.error(f"unrecognized arguments: -- {' '.join(rest)}")
        if flags and not _passes_flags(module):
            hint = "; flags of the worker stand after --" if _passes_rest(module) else ""
            self.error(f"unrecognized arguments: {' '.join(flags)}{hint}")
        options.flags = [*flags, *rest]
        return options


def _django_options() -> CommandParser:
    """Django's options for after the subcommand, where people write them; earlier values are kept."""
    parser = CommandParser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    for name in ("--settings", "--pythonpath"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("-v", "--verbosity", type=int, choices=[0, 1, 2, 3], help=argparse.SUPPRESS)
    for name in ("--traceback", "--no-color", "--force-color", "--skip-checks"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    return parser
