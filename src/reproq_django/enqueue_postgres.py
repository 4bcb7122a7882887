"""THE insert of runs on PostgreSQL: ``reproq_insert_runs``, see sql/postgres/35_enqueue.sql."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from reproq_django.new_rows import COLUMNS, Inserted, columns_of, values_of
from reproq_django.pipelining import execute_ahead
from reproq_django.spec import RunSpec
from reproq_django.statements import statement


def parameters(specs: list[RunSpec]) -> dict[str, str]:
    """The parameters of the statement that inserts them."""
    shared, own = _divided(specs)
    return {
        # The texts themselves, so that what is stored is what was hashed. JSON has no line breaks of its own.
        "specs": "\n".join([spec.spec_json for spec in specs]),
        "shared": _fields(shared),
        "runs": f"[{','.join(own)}]",
    }


def insert(
    connection: BaseDatabaseWrapper, given: dict[str, str], meanwhile: Callable[[], None] | None
) -> Iterator[tuple[int, Inserted]]:
    """Insert runs, ``given`` as their ``parameters``, with one statement; of each that is no duplicate, its
    position and row. ``meanwhile`` is called while the server is at work."""
    text = statement("postgresql", "insert_runs")
    with connection.cursor() as cursor:
        if meanwhile is None:
            cursor.execute(text, given)
        else:
            execute_ahead(connection, cursor, text, given, meanwhile)
        ids, enqueued_at = cursor.fetchone()
    for position, result_id in enumerate(ids):
        if result_id is not None:
            yield position, Inserted(result_id, enqueued_at)


def _divided(specs: list[RunSpec]) -> tuple[dict[str, Any], list[str]]:
    """What all of them have in common, and of each what it has not, as JSON."""
    if len(specs) == 1:
        return columns_of(specs[0]), ["{}"]
    shared: dict[str, Any] = {}
    own: dict[str, tuple[Any, ...]] = {}
    for name, values in zip(COLUMNS, zip(*map(values_of, specs), strict=True), strict=True):
        if values.count(values[0]) == len(values):
            shared[name] = values[0]
        else:
            own[name] = values
    if not own:
        return shared, ["{}"] * len(specs)
    if own.keys() == {"spec_hash"}:
        return shared, [f'{{"spec_hash":"{digest}"}}' for digest in own["spec_hash"]]
    return shared, [_fields(dict(zip(own, row, strict=True))) for row in zip(*own.values(), strict=True)]


def _fields(values: dict[str, Any]) -> str:
    """An object for ``reproq_new_run``."""
    given = {name: value for name, value in values.items() if value is not None}
    if (expires_in := given.pop("expires_in", None)) is not None:
        given["expires_in_seconds"] = expires_in.total_seconds()
    return json.dumps(given, default=str, ensure_ascii=False)
