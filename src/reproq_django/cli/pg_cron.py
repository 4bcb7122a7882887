"""``reproq pg-cron``: a PostgreSQL with pg_cron tells the workers each minute to look at the schedules.

For sites that run no ``beat``: one job sends a notification, and every worker that hears it ticks once. When
a schedule fires, and what with, is decided where it always is, by the scheduler.

pg_cron keeps its jobs in one database of the server (``cron.database_name``), which need not be the queues'.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from reproq_django.db import default_alias

HELP = "Have pg_cron wake the workers' schedulers each minute: --install (the default) or --remove."

PREFIX: Final = "reproq_periodic"
EVERY_MINUTE: Final = "* * * * *"
COMMAND: Final = "SELECT pg_notify('reproq_schedule', 'tick')"

#: The default of cron.database_name.
USUAL_HOME: Final = "postgres"

#: Its own words, from which the home of its jobs can be told without the right to read settings.
_HOME: Final = re.compile(r"can only create extension in database (?P<name>.+)")


class Unsupported(CommandError):
    """The server has no pg_cron to use."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the queues are and where pg_cron keeps its jobs."""

    database: str
    #: None: it cannot be told before the extension is made.
    home: str | None
    is_installed: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and where."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--install", action="store_true", help="make the job (default); safe to run again")
    group.add_argument(
        "--remove", action="store_true", help="remove the job, and those of the earlier system"
    )
    parser.add_argument("--prefix", default=PREFIX, help=f"the job is called PREFIX_tick (default: {PREFIX})")
    parser.add_argument("--dry-run", action="store_true", help="print the SQL and change nothing")
    parser.add_argument(
        "--if-supported", action="store_true", help="succeed where there is no PostgreSQL or no pg_cron"
    )
    parser.add_argument("--database", help="alias in DATABASES of the queues' database")


def run(command: BaseCommand, options: dict[str, Any]) -> int:
    """Install or remove the job; 0, or CommandError with what is in the way."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,40}", options["prefix"]):
        raise CommandError(
            f"--prefix takes up to 41 letters, digits, - and _, no digit first; not {options['prefix']!r}"
        )
    alias = options["database"] or default_alias()
    if alias not in connections.settings:
        raise CommandError(f"there is no database {alias!r} in DATABASES")
    try:
        _run(command, alias, options)
    except Unsupported as error:
        if not options["if_supported"]:
            raise
        command.stdout.write(f"nothing to do: {error}")
    except DatabaseError as error:
        raise CommandError(f"database {alias}: {_explained(str(error).strip())}") from error
    return 0


def _run(command: BaseCommand, alias: str, options: dict[str, Any]) -> None:
    connection = connections[alias]
    if connection.vendor != "postgresql":
        raise Unsupported(
            f"the database {alias!r} is {connection.display_name}, and pg_cron is PostgreSQL's; "
            "run `reproq beat`"
        )
    place = _place(connection)
    if not place.is_installed and options["remove"] and place.home in (None, place.database):
        command.stdout.write("there is no pg_cron in the database, so it has no job either")
        return
    if options["dry_run"] and not place.is_installed and place.home in (None, place.database):
        # The jobs cannot be looked at before there is a table of them.
        _print(command, place.database, ["CREATE EXTENSION pg_cron", _schedule(place, options["prefix"])])
        return
    if place.home is None:
        place = _installed_here(connection, place)
    with _home(connection, place) as home:
        statements = _statements(home, place, options)
        if options["dry_run"]:
            _print(command, place.home, statements)
            return
        with home.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    _say(command, options, len(statements))


def _say(command: BaseCommand, options: dict[str, Any], done: int) -> None:
    name = f"{options['prefix']}_tick"
    if options["remove"]:
        command.stdout.write(f"{name}: " + ("removed" if done else "there is no such job"))
    else:
        command.stdout.write(
            f"{name}: " + ("pg_cron wakes the workers' schedulers each minute" if done else "already there")
        )


def _print(command: BaseCommand, database: str | None, statements: list[str]) -> None:
    command.stdout.write(f"-- in the database {database}")
    for statement in statements:
        command.stdout.write(f"{statement};")
    if not statements:
        command.stdout.write("-- nothing to do")


def _place(connection: BaseDatabaseWrapper) -> Place:
    """What can be told without changing anything. Raises Unsupported."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_database(),"
            " (SELECT setting FROM pg_settings WHERE name = 'cron.database_name'),"
            " EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron'),"
            " EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_cron'),"
            " pg_has_role(current_user, 'pg_read_all_settings', 'USAGE')"
        )
        database, home, installed, available, reads_settings = cursor.fetchone()
    if not available:
        raise Unsupported(
            "the server has no pg_cron; install its package (Debian: postgresql-<version>-cron), add it to "
            "shared_preload_libraries and restart the server, or run `reproq beat`"
        )
    if home is None and reads_settings:
        raise Unsupported(_explained("shared_preload_libraries"))
    return Place(database, home or (database if installed else None), installed)


def _installed_here(connection: BaseDatabaseWrapper, place: Place) -> Place:
    """Make the extension, or learn from its refusal where its jobs are. Raises Unsupported."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION IF NOT EXISTS pg_cron")
    except DatabaseError as error:
        if found := _HOME.search(str(error).splitlines()[0]):
            return Place(place.database, found["name"].strip().strip('"'), False)
        if "shared_preload_libraries" in str(error):
            raise Unsupported(_explained("shared_preload_libraries")) from error
        if place.database != USUAL_HOME and "permission denied" in str(error):
            # Whoever may not make it is not told where it is.
            return Place(place.database, USUAL_HOME, False)
        raise
    return Place(place.database, place.database, True)


@contextmanager
def _home(connection: BaseDatabaseWrapper, place: Place) -> Iterator[BaseDatabaseWrapper]:
    """A connection to the database that pg_cron keeps its jobs in."""
    if place.home == place.database:
        yield connection
        return
    # A pool belongs to an alias, and would give connections to the queues' database.
    options = {key: value for key, value in connection.settings_dict["OPTIONS"].items() if key != "pool"}
    settings = {**connection.settings_dict, "NAME": place.home, "OPTIONS": options}
    other = type(connection)(settings, alias=connection.alias)
    try:
        yield other
    finally:
        other.close()


def _statements(home: BaseDatabaseWrapper, place: Place, options: dict[str, Any]) -> list[str]:
    """What has to be run in pg_cron's database; the job is looked for, so that nothing is done twice."""
    name, statements = f"{options['prefix']}_tick", []
    with home.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron')")
        if not cursor.fetchone()[0]:
            if options["remove"]:
                return []
            if options["dry_run"]:
                return ["CREATE EXTENSION pg_cron", _schedule(place, options["prefix"])]
            cursor.execute("CREATE EXTENSION pg_cron")
        cursor.execute(
            "SELECT jobid, jobname, database, schedule, command, active FROM cron.job"
            " WHERE starts_with(jobname, %s) ORDER BY jobid",
            [options["prefix"]],
        )
        jobs = cursor.fetchall()
    is_there = False
    for job, called, database, *rest in jobs:
        if called == name and database != place.database and not options["remove"]:
            raise CommandError(
                f"{name} is a job for the database {database!r}; give this one another name with --prefix"
            )
        if database != place.database or not re.match(rf"{re.escape(options['prefix'])}[^A-Za-z0-9]", called):
            continue
        if called == name and not options["remove"] and rest == [EVERY_MINUTE, COMMAND, True]:
            is_there = True
        elif called != name or options["remove"]:
            # The earlier system had one for each schedule.
            statements.append(f"SELECT cron.unschedule({int(job)})")
    if not options["remove"] and not is_there:
        statements.append(_schedule(place, options["prefix"]))
    return statements


def _schedule(place: Place, prefix: str) -> str:
    words = [f"{prefix}_tick", EVERY_MINUTE, COMMAND]
    if place.home in (None, place.database):
        return f"SELECT cron.schedule({', '.join(map(_quoted, words))})"
    return f"SELECT cron.schedule_in_database({', '.join(map(_quoted, [*words, place.database]))})"


def _quoted(text: str) -> str:
    """A literal; so that what --dry-run prints is what would be run."""
    return "'" + text.replace("'", "''") + "'"


def _explained(words: str) -> str:
    """The server's words, and what to do."""
    if "shared_preload_libraries" in words:
        return (
            "pg_cron is not loaded: add it to shared_preload_libraries in postgresql.conf and restart the "
            "server, or run `reproq beat`"
        )
    if "permission denied to create extension" in words:
        return (
            f"{words}; have a superuser run CREATE EXTENSION pg_cron in the database that cron.database_name "
            "names (by default: postgres), then run this again"
        )
    if "permission denied for schema cron" in words:
        return f"{words}; have a superuser run GRANT USAGE ON SCHEMA cron TO this user, where the jobs are"
    if "permission denied for function schedule_in_database" in words:
        return (
            f"{words}; have a superuser run GRANT EXECUTE ON FUNCTION cron.schedule_in_database(text, text, "
            "text, text, text, boolean) TO this user, or set cron.database_name to the queues' database"
        )
    return words
