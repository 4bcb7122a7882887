"""Finding the worker binary. Python never does its work, it only starts it.

Places, in order: ``settings.REPROQ_WORKER_BIN`` or the environment variable of that name,
``./.reproq/bin/reproq`` (where ``manage.py reproq install`` puts it), the wheel (inside the package or among
the environment's scripts), ``PATH``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reproq_django import __version__
from reproq_django.conf import setting

NAME = "reproq.exe" if sys.platform == "win32" else "reproq"
OVERRIDE = "REPROQ_WORKER_BIN"
INSTALLED = Path(".reproq", "bin", NAME)
VERSION_PREFIX = "reproq-worker version "
VERSION_TIMEOUT_SECONDS = 10
ANSWER_TIMEOUT_SECONDS = 30


class BinaryError(Exception):
    """The worker binary cannot be used; the message says what was tried and what to do."""


class BinaryRefusal(BinaryError):
    """The binary was asked and refuses, with the reason."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place to look: the file and why we look there."""

    path: Path
    reason: str


def installed_path() -> Path:
    """Where ``install`` puts the binary: below the working directory of ``manage.py``."""
    return Path.cwd() / INSTALLED


def places() -> Iterator[Place]:
    """Every place to look, best first; an override is the only one, or a mistake in it would go unseen."""
    override = _override()
    if override:
        # A bare name means a program on PATH, as it does in a shell.
        found = shutil.which(override) if os.sep not in override else None
        yield Place(Path(found or override).expanduser(), OVERRIDE)
        return
    yield Place(installed_path(), "reproq install")
    yield Place(Path(__file__).parent / "bin" / NAME, "the package")
    for folder in script_folders():
        yield Place(folder / NAME, "the environment's scripts")
    on_path = shutil.which(NAME)
    if on_path:
        yield Place(Path(on_path), "PATH")


def find() -> Path:
    """Return the binary.

    Raises:
        BinaryError: it is nowhere.
    """
    tried = []
    for place in places():
        if place.path.is_file() and os.access(place.path, os.X_OK):
            return place.path
        tried.append(f"  {place.path} ({place.reason})")
    if not _override():
        tried.append(f"  {NAME} on PATH")
    raise BinaryError(
        "the reproq binary was not found. Tried:\n"
        + "\n".join(tried)
        + "\nInstall the wheel for this platform, run `manage.py reproq install`, "
        + f"or set {OVERRIDE} to the binary."
    )


def find_matching() -> Path:
    """Return the binary after checking that it is of this package's version.

    Raises:
        BinaryError: it is nowhere, cannot be run, or is of another version.
    """
    path = find()
    found = version_of(path)
    if found != __version__:
        raise BinaryError(
            f"{path} is version {found}, but reproq-django is {__version__}. Remove it if it is a leftover, "
            "run `manage.py reproq install --force`, or install the reproq-django of that version."
        )
    return path


def version_of(path: Path) -> str:
    """Ask a binary for its version.

    Raises:
        BinaryError: it cannot be run, or does not answer like Reproq's.
    """
    try:
        answer = subprocess.run(  # noqa: S603 - the file that is about to be the worker
            [path, "version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BinaryError(f"{path} cannot be run: {error}") from error
    line = answer.stdout.strip()
    if answer.returncode != 0 or not line.startswith(VERSION_PREFIX):
        said = (line or answer.stderr.strip() or "nothing").splitlines()[0]
        raise BinaryError(
            f"{path} is not the reproq binary: `version` exited with {answer.returncode} and said: {said}"
        )
    return line.removeprefix(VERSION_PREFIX).strip()


def ask(arguments: Sequence[str], *, environment: Mapping[str, str] | None = None) -> str:
    """What ``reproq <arguments>`` prints.

    Args:
        environment: that of the process; None: this one's.

    Raises:
        BinaryRefusal: it has looked at the question and says no; the message is its own.
        BinaryError: there is no binary of this version, or it gave no answer.
    """
    path = find_matching_once()
    try:
        answer = subprocess.run(  # noqa: S603 - the binary that find_matching vouches for
            [path, *arguments],
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=ANSWER_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BinaryError(f"{path} gives no answer: {error}") from error
    if answer.returncode != 0:
        said = answer.stderr.strip() or answer.stdout.strip() or f"exit code {answer.returncode}"
        raise BinaryRefusal(said.removeprefix(f"{path.name}: "))
    return answer.stdout


@cache
def _matching(path: Path, changed: int) -> Path:
    return find_matching()


def find_matching_once() -> Path:
    """``find_matching``, which starts the binary to ask it for its version, once per file and its change."""
    path = find()
    return _matching(path, path.stat().st_mtime_ns)


def _override() -> str:
    return str(setting(OVERRIDE) or "")


def script_folders() -> list[Path]:
    """Where pip may have put the wheel's script: the environment's folder, the interpreter's, the user's."""
    user = sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    folders = [sysconfig.get_path("scripts"), str(Path(sys.executable).parent), user]
    return [Path(folder) for folder in dict.fromkeys(folders) if folder]
