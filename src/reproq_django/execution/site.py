"""Loading the site, and which of its tasks may run.

A payload names a task; it never decides what is imported. Modules come into the process because the site
imports them, because they are the ``tasks`` module of an installed app, or because the operator listed them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from reproq_django.errors import TaskNotAllowed

if TYPE_CHECKING:
    from django.db.utils import ConnectionHandler

ALLOWED_VARIABLE = "ALLOWED_TASK_MODULES"
SETTINGS_VARIABLE = "DJANGO_SETTINGS_MODULE"
EVERYTHING = "*"

#: Modules that the site had imported when ``load`` ended; what ``*`` allows.
_imported_by_site: frozenset[str] = frozenset()


def load(settings_module: str | None = None) -> None:
    """Set Django up, import the modules that hold tasks and leave no database connection open.

    Args:
        settings_module: overrides ``DJANGO_SETTINGS_MODULE``.

    Raises:
        Whatever the site raises while it is imported.
    """
    global _imported_by_site
    if settings_module:
        os.environ[SETTINGS_VARIABLE] = settings_module
    # ``manage.py`` has the working directory on the path; a process started with ``-m`` has it too, a frozen
    # one has not.
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    import django

    django.setup()
    from django.apps import apps

    for app in apps.get_app_configs():
        _import_if_there(f"{app.name}.tasks")
    for entry in allowed_modules():
        if entry != EVERYTHING:
            _import_if_there(entry)
    _imported_by_site = frozenset(sys.modules)
    _close_early_connections()


def _close_early_connections() -> None:
    """Close what the site has connected while it was imported: no child may share it."""
    from django.db import connections

    for connection in connections.all(initialized_only=True):
        if connection.connection is not None:
            print(
                f"reproq: the site connects to its database {connection.alias!r} while it is imported; that "
                "connection is closed now, because no two processes can share one",
                file=sys.stderr,
            )
            connection.close()
        # A pool has threads, and a fork would have the pool without them.
        close_pool = getattr(connection, "close_pool", None)
        if close_pool is not None:
            close_pool()


def _import_if_there(module: str) -> None:
    """Import ``module`` when it exists; an error inside it is the site's error and is raised."""
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return  # a parent is missing, so there is no such module either
    if found is not None:
        importlib.import_module(module)


@lru_cache(maxsize=1)
def allowed_modules() -> tuple[str, ...]:
    """The operator's list, as dotted names without a trailing dot.

    Unset (an executor started by hand): the installed apps, each with what is below it.
    """
    entries = parse_allowed(os.environ.get(ALLOWED_VARIABLE, ""))
    if entries:
        return entries
    from django.apps import apps

    return tuple(app.name for app in apps.get_app_configs())


def parse_allowed(text: str) -> tuple[str, ...]:
    """Parse a comma list of modules; ``myapp.tasks.`` and ``myapp.tasks`` mean the same."""
    return tuple(name for entry in text.split(",") if (name := entry.strip().rstrip(".")))


def listed(module: str) -> bool:
    """Whether an entry other than ``*`` names ``module`` or a package around it, part by part."""
    return any(module == entry or module.startswith(entry + ".") for entry in allowed_modules())


def allowed(module: str) -> bool:
    """Whether tasks of ``module`` may run."""
    return listed(module) or (EVERYTHING in allowed_modules() and module in _imported_by_site)


def find_module(task_path: str) -> tuple[object, list[str]]:
    """Find the module part of ``task_path``; returns the module and the attribute names that are left.

    Raises:
        TaskNotAllowed: no allowed module holds that path.
    """
    parts = task_path.split(".")
    if not all(part.isidentifier() for part in parts):
        raise TaskNotAllowed(f"{task_path!r} is not the dotted path of a task")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        if not allowed(name):
            continue
        if name not in sys.modules:
            try:
                importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
                    continue
                raise
        return sys.modules[name], parts[length:]
    raise TaskNotAllowed(
        f"{task_path!r} is in no allowed module; "
        f"{ALLOWED_VARIABLE} allows {', '.join(allowed_modules()) or 'nothing'}"
    )


class _Opened(threading.local):
    """Whether this thread may have an open connection: it has had one, or its first is not ruled out yet."""

    perhaps = True


_opened = _Opened()


def _on_connection(**_: object) -> None:
    _opened.perhaps = True


@cache
def _connections() -> ConnectionHandler:
    # Late, so that this module can say that there is no Django; once, because it is asked for after each run.
    from django.db import connections
    from django.db.backends.signals import connection_created

    connection_created.connect(_on_connection)
    return connections


def close_connections() -> None:
    """Close every database connection of this thread; none may be shared over a fork."""
    for connection in _connections().all(initialized_only=True):
        # Most often there is none, and Django's own way to find that out is long.
        if connection.connection is not None:
            connection.close()


def close_opened_connections() -> None:
    """As ``close_connections``, where this thread may have one: to look takes as long as a short task.

    Django tells of a connection when it is all made. One whose making has failed half-way is left to the end
    of the process; before its first fork a zygote makes none.
    """
    if _opened.perhaps:
        close_connections()


def tidy_connections() -> None:
    """Leave the next task what a new request would find: no open transaction, no worn-out connection.

    Only connections that were opened are looked at, and only when there may be one: a task without a query
    pays nothing.
    """
    if not _opened.perhaps:
        return
    connections, perhaps = _connections(), False
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        connection.queries_log.clear()
        if connection.in_atomic_block or not connection.autocommit or _in_transaction(connection.connection):
            # Closing is the one way to roll back that also resets all of Django's own notes; its next use
            # connects anew.
            connection.in_atomic_block = False
            connection.close()
        else:
            connection.close_if_unusable_or_obsolete()
            perhaps = perhaps or connection.connection is not None
    _opened.perhaps = perhaps


def _in_transaction(raw: Any) -> bool:
    """Whether the driver's connection has a transaction open, whoever began it: Django knows of its own."""
    handle = getattr(raw, "pgconn", None)
    if handle is not None:
        return bool(handle.transaction_status)  # 0: idle
    return bool(getattr(raw, "in_transaction", False))
