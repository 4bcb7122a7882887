"""THE insert of runs on SQLite: a statement a run, see sql/sqlite/statements/insert_run.sql."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from reproq_django.new_rows import Inserted, columns_of
from reproq_django.spec import RunSpec
from reproq_django.statements import statement


def parameters(specs: list[RunSpec]) -> list[dict[str, Any]]:
    """The parameters of the statements that insert them."""
    return [_row(spec) for spec in specs]


def insert(
    connection: BaseDatabaseWrapper, rows: list[dict[str, Any]], meanwhile: None
) -> Iterator[tuple[int, Inserted]]:
    """Insert runs one by one; of each that is no duplicate, its position and row. There is no ``meanwhile``:
    SQLite works in this thread. ``rows`` are their ``parameters``, which this changes."""
    text = statement("sqlite", "insert_run")
    with connection.cursor() as cursor:
        for position, row in enumerate(rows):
            if position > 0 and row["result_id"] is None:
                # By now this transaction is the one that writes, so nobody else takes ids.
                yield from _insert_rest(cursor, rows, position)
                return
            cursor.execute(f"{text} RETURNING result_id, enqueued_at", row)
            # All rows, so that the statement is over before the transaction is. Outside of one its end is the
            # commit, which workers may then be told of.
            for result_id, enqueued_at in cursor.fetchall():
                yield position, Inserted(result_id, _from_sqlite(enqueued_at))


def _insert_rest(cursor: Any, rows: list[dict[str, Any]], start: int) -> Iterator[tuple[int, Inserted]]:
    """Inserts the rows from ``start`` on with one call, which takes half as long as one by one. It answers
    nothing, so they get their ids beforehand."""
    rest = rows[start:]
    cursor.execute(statement("sqlite", "take_ids"), {"count": len(rest)})
    ids = [result_id for (result_id,) in cursor.fetchall()]
    for row, result_id in zip(rest, ids, strict=True):
        row["result_id"] = result_id
    cursor.executemany(statement("sqlite", "insert_run"), rest)
    cursor.execute(
        "SELECT result_id, enqueued_at FROM task_runs WHERE result_id BETWEEN %s AND %s", [ids[0], ids[-1]]
    )
    for result_id, enqueued_at in cursor.fetchall():
        yield start + result_id - ids[0], Inserted(result_id, _from_sqlite(enqueued_at))


def tell(connection: BaseDatabaseWrapper) -> None:
    """Tells the worker that runs are there, unless a transaction of the caller's is still open.

    It watches the log, but hears of a commit's writes before their flush, and runs are there after it. Then
    the log's times change once more. Untold, a worker finds them by looking again and again after a write,
    a millisecond or two later.
    """
    if connection.autocommit:
        # No log: the database is no file, or in no mode that has one.
        with suppress(OSError):
            os.utime(f"{connection.settings_dict['NAME']}-wal")


def _row(spec: RunSpec) -> dict[str, Any]:
    row = columns_of(spec)
    row["spec_json"] = spec.spec_json
    row["workflow_id"] = spec.workflow_id and spec.workflow_id.hex
    # All times have the same width, so that text order is time order.
    row["run_after"] = spec.run_after and spec.run_after.replace(tzinfo=None).isoformat(" ", "microseconds")
    row["expires_in"] = spec.expires_in and f"+{spec.expires_in.total_seconds():.6f} seconds"
    row["time_format"] = "%Y-%m-%d %H:%M:%f"
    return row


def _from_sqlite(moment: str | datetime) -> datetime:
    """Stored UTC as Django's DateTimeField would give it. Whether sqlite3 has parsed it depends on the
    column's type."""
    parsed = parse_datetime(moment) if isinstance(moment, str) else moment
    if parsed is None:
        raise ValueError(f"not a time: {moment!r}")
    aware = parsed.replace(tzinfo=UTC)
    return aware if settings.USE_TZ else timezone.make_naive(aware)
