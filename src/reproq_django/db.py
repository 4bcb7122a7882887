"""Which database a queue lives in, and result ids that say so."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Any

from django.core.signals import setting_changed
from django.db import connections
from django.dispatch import receiver
from django.tasks.exceptions import TaskResultDoesNotExist

from reproq_django.conf import setting

_MAX_ID = 2**63 - 1


def default_alias() -> str:
    """Database alias of the queues that ``REPROQ_QUEUE_DATABASES`` does not name."""
    return str(setting("REPROQ_DEFAULT_DB_ALIAS"))


@lru_cache(maxsize=1024)
def queue_alias(queue_name: str) -> str:
    """Database alias of a queue: an exact name first, then the first glob that matches, then the default."""
    routes = setting("REPROQ_QUEUE_DATABASES") or {}
    if queue_name in routes:
        return str(routes[queue_name])
    for pattern, alias in routes.items():
        if fnmatchcase(queue_name, pattern):
            return str(alias)
    return default_alias()


def queue_aliases() -> list[str]:
    """All databases that hold queues, the default one first, each once."""
    return list(
        dict.fromkeys([default_alias(), *map(str, (setting("REPROQ_QUEUE_DATABASES") or {}).values())])
    )


def format_result_id(result_id: int, alias: str) -> str:
    """The public id of a run: ``"17"``, or ``"<alias>:17"`` by ``REPROQ_RESULT_ID_WITH_ALIAS``."""
    return f"{alias}:{result_id}" if _with_alias() else str(result_id)


@cache
def _with_alias() -> bool:
    said = setting("REPROQ_RESULT_ID_WITH_ALIAS")
    return len(queue_aliases()) > 1 if said is None else bool(said)


@receiver(setting_changed)
def _forget(**changed: Any) -> None:
    """Settings that were read once are read again: tests override them."""
    queue_alias.cache_clear()
    _with_alias.cache_clear()


def parse_result_id(value: str | int) -> tuple[int, str]:
    """(number, database alias) of a public id in either form; a bare number belongs to the default database.

    Raises TaskResultDoesNotExist for anything else, since no run can have that id.
    """
    alias, _, number = str(value).rpartition(":")
    alias = alias or default_alias()
    if (
        not (number.isascii() and number.isdigit())
        or int(number[:20]) > _MAX_ID
        or alias not in connections.settings
    ):
        raise TaskResultDoesNotExist(f"no run has the id {value!r}")
    return int(number), alias
