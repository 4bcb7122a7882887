"""``reproq install``: a worker binary for environments where the wheel brought none."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from reproq_django import binary, installer
from reproq_django.conf import setting

HELP = "Install the worker binary into .reproq/bin, verified by SHA-256; not needed where the wheel has it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where the binary comes from."""
    parser.add_argument("--tag", help="release to fetch (default: latest)")
    parser.add_argument(
        "--sha256", help="the digest that the released file must have, from a source that you trust"
    )
    parser.add_argument(
        "--source", type=Path, help="source directory to build from (default: ../reproq-worker)"
    )
    parser.add_argument(
        "--build", action="store_true", help="build from source instead of fetching a release"
    )
    parser.add_argument(
        "--force", action="store_true", help="install even when a matching binary is there already"
    )


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Install, unless a matching binary is there and nothing particular was asked for."""
    wants_other = options["force"] or options["tag"] or options["build"] or options["source"]
    if not wants_other and (path := _present()):
        command.stdout.write(f"{path} is there already and matches; nothing to do (--force installs anyway)")
        return 0
    target = binary.installed_path()
    try:
        origin = (
            _build(options, target)
            if options["build"] or options["source"]
            else _fetch(command, options, target)
        )
    except installer.InstallError as error:
        raise CommandError(str(error)) from error
    command.stdout.write(command.style.SUCCESS(f"{target} installed ({origin})"))
    try:
        binary.find_matching()
    except binary.BinaryError as error:
        command.stderr.write(command.style.WARNING(str(error)))
    return 0


def _present() -> Path | None:
    try:
        return binary.find_matching()
    except binary.BinaryError:
        return None


def _build(options: dict[str, Any], target: Path) -> str:
    source = options["source"] or installer.sibling_source()
    if source is None:
        raise installer.InstallError(
            "there is no source: pass --source DIR, or put a checkout at ../reproq-worker"
        )
    return f"{installer.build(source, target)} in {source}"


def _fetch(command: BaseCommand, options: dict[str, Any], target: Path) -> str:
    try:
        return installer.download(
            str(setting("REPROQ_RELEASE_URL")),
            options["tag"] or installer.LATEST,
            target,
            sha256=options["sha256"] or setting("REPROQ_RELEASE_SHA256"),
        )
    except installer.InstallError as error:
        source = installer.sibling_source()
        if source is None:
            raise
        command.stderr.write(command.style.WARNING(f"{error}\nBuilding {source} instead."))
        return f"{installer.build(source, target)} in {source}"
