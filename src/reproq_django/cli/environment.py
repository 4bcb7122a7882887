"""What the worker needs to know about the site, as environment variables.

The binary knows nothing of Django settings, and no secret may stand in a command line, where every user of
the machine can read it. What the operator has already said, in the environment, by a flag or in a config
file, is left alone.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote, urlencode, urlsplit

from django.conf import settings
from django.core.management.base import CommandError
from django.tasks import DEFAULT_TASK_QUEUE_NAME, task_backends
from django.tasks.exceptions import InvalidTaskBackend

from reproq_django.backend import ReproqBackend
from reproq_django.db import default_alias, queue_alias
from reproq_django.discovery import registered_tasks, task_modules

CONFIG_NAMES = ("reproq.yaml", "reproq.yml", "reproq.toml", ".reproq.yaml", ".reproq.yml", ".reproq.toml")
#: What libpq and the binary both understand; Django's other OPTIONS concern Django alone.
_POSTGRES_OPTIONS = ("sslmode", "sslrootcert", "sslcert", "sslkey", "application_name", "options")

#: The part of a config file, in either format, that concerns no other command.
_BEAT_SECTION = re.compile(
    r"^beat\..*\n|^beat[ ]*:.*\n(?:[ \t]+.*\n|[ \t]*#.*\n|\n)*|^[ \t]*\[beat\].*\n(?:(?![ \t]*\[).*\n)*",
    re.MULTILINE,
)


def worker_environment(alias: str, arguments: Sequence[str], *, development: bool = False) -> dict[str, str]:
    """The environment for ``reproq <arguments>`` against the database ``alias``.

    Args:
        development: allow the tasks of modules that are not there yet, too: whatever the site imports.

    Raises:
        CommandError: the database is one that the worker cannot use.
    """
    environment = dict(os.environ)
    config = _config_text(arguments)
    if not set(arguments[:1]) & {"beat", "schedule"}:
        config = _BEAT_SECTION.sub("", config)
    if not _said("dsn", arguments, "REPROQ_DATABASE_URL", config):
        # Not DATABASE_URL: many sites build DATABASES from it, and the worker hands it to them untouched.
        environment["REPROQ_DATABASE_URL"] = _chosen_url(alias)
    environment["REPROQ_DB_ALIAS"] = alias
    environment["DJANGO_SETTINGS_MODULE"] = (
        os.environ.get("DJANGO_SETTINGS_MODULE") or settings.SETTINGS_MODULE
    )
    environment.setdefault("REPROQ_PYTHON_BIN", sys.executable)
    paths = [
        str(Path(sys.path[0] or ".").resolve()),
        *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)),
    ]
    environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    if not _said("allowed-task-modules", arguments, "ALLOWED_TASK_MODULES", config):
        environment["ALLOWED_TASK_MODULES"] = ",".join([*(["*"] if development else []), *task_modules()])
    if not _said("queues", arguments, "QUEUE_NAMES", config) and (queues := site_queues(alias)):
        environment["QUEUE_NAMES"] = ",".join(dict.fromkeys(map(_as_pattern, queues)))
    return environment


def database_url(alias: str) -> str:
    """``DATABASES[alias]`` as a URL, every part percent-encoded.

    Raises:
        CommandError: there is no such alias, or the worker cannot use that database.
    """
    if alias not in settings.DATABASES:
        raise CommandError(
            f"there is no database {alias!r} in DATABASES; it has {', '.join(settings.DATABASES)}"
        )
    return url_of(alias, cast(Mapping[str, Any], settings.DATABASES[alias]))


def url_of(alias: str, database: Mapping[str, Any]) -> str:
    """One entry of ``DATABASES`` as a URL; raises CommandError as ``database_url``."""
    engine = str(database.get("ENGINE", ""))
    if "sqlite3" in engine or "spatialite" in engine:
        return _sqlite_url(alias, database)
    if "postg" in engine or "psycopg" in engine:
        return _postgres_url(alias, database)
    raise CommandError(
        f"the database {alias!r} uses {engine or 'no engine'}; Reproq works with PostgreSQL and SQLite"
    )


def _sqlite_url(alias: str, database: Mapping[str, Any]) -> str:
    name = str(database.get("NAME") or "")
    if not name or ":memory:" in name or "mode=memory" in name:
        raise CommandError(
            f"the database {alias!r} lives in memory, where no worker can reach it; give it a file"
        )
    if name.startswith("file:"):
        raise CommandError(f"the database {alias!r} has a file: URI as NAME; give it a plain path")
    # Three slashes and an absolute path; Path.absolute keeps symbolic links, as SQLite itself does.
    return "sqlite://" + quote(str(Path(name).absolute()))


def _postgres_url(alias: str, database: Mapping[str, Any]) -> str:
    options = dict(database.get("OPTIONS") or {})
    if "service" in options:
        raise CommandError(
            f"the database {alias!r} names a libpq service, which the worker cannot read; "
            "write its address into DATABASES"
        )
    user, password = str(database.get("USER") or ""), str(database.get("PASSWORD") or "")
    host, port = str(database.get("HOST") or ""), str(database.get("PORT") or "")
    query = {key: str(options[key]) for key in _POSTGRES_OPTIONS if options.get(key) is not None}
    if role := options.get("assume_role"):
        query["options"] = f"{query.get('options', '')} -c role={role}".strip()
    authority = ""
    if host and not host.startswith("/"):
        credentials = quote(user, safe="") + (":" + quote(password, safe="") if password else "")
        address = f"[{host}]" if ":" in host else host
        authority = f"{credentials}{'@' if credentials else ''}{address}{':' + port if port else ''}"
    else:
        # A socket: a URL without a host has no room for a user, so everything goes into the query.
        socket = {"host": host, "port": port, "user": user, "password": password}
        query = {key: value for key, value in socket.items() if value} | query
    tail = "?" + urlencode(query, quote_via=quote, safe="") if query else ""
    return f"postgres://{authority}/{quote(str(database.get('NAME') or ''), safe='')}{tail}"


def reproq_backends() -> list[ReproqBackend]:
    """The entries of TASKS that use Reproq. One that cannot be made is Django's to report."""
    backends = []
    for alias in task_backends.settings:
        try:
            backend = task_backends[alias]
        except InvalidTaskBackend:
            continue
        if isinstance(backend, ReproqBackend):
            backends.append(backend)
    return backends


def site_queues(alias: str) -> list[str]:
    """The queues of Reproq's backends that live in the database ``alias``; ``default`` comes first."""
    names: set[str] = set()
    for backend in reproq_backends():
        # ``"QUEUES": []`` allows every name: then the queues that the site's tasks name.
        names |= set(backend.queues) or {
            DEFAULT_TASK_QUEUE_NAME,
            *(task.queue_name for task in registered_tasks() if task.backend == backend.alias),
        }
    return sorted(
        (name for name in names if queue_alias(name) == alias), key=lambda name: (name != "default", name)
    )


def _as_pattern(queue: str) -> str:
    """The queue's name as the worker's ``--queues`` takes it: ``?`` for what means something else there."""
    return re.sub(r"^!|[*=]", "?", queue)


def _chosen_url(alias: str) -> str:
    """The operator's DATABASE_URL where it can stand for the site's PostgreSQL, else the settings'.

    Elsewhere it would send the worker to a database that the site does not use: the settings may ignore the
    variable, and other tools read ``sqlite:///name`` as a relative path. Another host is welcome (a pooler,
    or the way around one), another database never: its runs would fail here, as tasks unknown to this site.
    """
    said, site = os.environ.get("DATABASE_URL", ""), database_url(alias)
    may_stand = alias == default_alias() and said.startswith(("postgres://", "postgresql://"))
    return said if may_stand and site.startswith("postgres://") and _name(said) == _name(site) else site


def _name(url: str) -> str:
    """The database of a URL."""
    try:
        return unquote(urlsplit(url).path.strip("/"))
    except ValueError:
        return url


def _said(flag: str, arguments: Sequence[str], variable: str, config: str) -> bool:
    """Whether a flag, the environment or the config file decides about something.

    The file is not parsed here (its format and meaning are the binary's), only searched for the key.
    """
    if any(argument == f"--{flag}" or argument.startswith(f"--{flag}=") for argument in arguments):
        return True
    if variable and os.environ.get(variable):
        return True
    return (
        re.search(rf"^\s*['\"]?((worker|beat)\.)?{flag.replace('-', '_')}['\"]?\s*[:=]", config, re.MULTILINE)
        is not None
    )


def _config_text(arguments: Sequence[str]) -> str:
    """The text of the config file that the binary is going to read; empty when there is none."""
    named = os.environ.get("REPROQ_CONFIG", "")
    for index, argument in enumerate(arguments):
        if argument == "--config" and index + 1 < len(arguments):
            named = arguments[index + 1]
        elif argument.startswith("--config="):
            named = argument.removeprefix("--config=")
    for name in [named] if named else CONFIG_NAMES:
        try:
            return Path(name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
    return ""
