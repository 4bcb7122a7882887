"""The one place that inserts runs: one, or many, in one transaction per database.

A duplicate (see ``status.Dedup``) is no error: the caller gets the run that stands for it. The INSERT takes
no locks beyond the unique index, so it may sit in a long transaction of the caller's. There a twin of another
transaction waits for that transaction's end; two transactions that enqueue the same runs one by one and in
different order can therefore deadlock, as with any unique column. One bulk enqueue has one order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple

from django.conf import settings
from django.db import OperationalError, ProgrammingError, connections, models, transaction
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from reproq_django.models import TaskRun
from reproq_django.spec import RunSpec
from reproq_django.statements import statement
from reproq_django.status import Dedup, RunStatus

#: Rows, and characters of spec text, in one statement. PostgreSQL takes no message over 1 GiB.
MAX_ROWS: Final = 1000
MAX_TEXT: Final = 32 * 1024 * 1024

#: How often a twin may end between the INSERT and the look at it before the run is inserted without dedupe.
_TWIN_ATTEMPTS: Final = 10

#: What a run brings beside its spec.
_COLUMNS: Final = (
    "backend_alias", "queue_name", "priority", "spec_hash", "task_path", "max_attempts", "timeout_seconds",
    "lock_key", "concurrency_key", "concurrency_limit", "dedup", "fairness_key", "rate_key",
    "rate_per_second", "rate_burst", "over_limit", "run_after", "expires_in",
    "result_id", "status", "workflow_id", "step", "after_step",
)  # fmt: skip
_values_of: Final = attrgetter(*_COLUMNS)


class Inserted(NamedTuple):
    """A new row. ``enqueued_at`` is the database's clock, in the form that Django's DateTimeField has."""

    result_id: int
    enqueued_at: datetime


def insert_runs(alias: str, specs: Sequence[RunSpec]) -> list[Inserted | TaskRun]:
    """Insert runs into the database ``alias``; per spec, in input order, the new row or the run it is a
    duplicate of.

    Takes part in the caller's transaction if there is one. Raises only what the database raises.
    """
    answers: list[Inserted | TaskRun | None] = [None] * len(specs)
    connection = connections[alias]
    insert = _insert_postgres if connection.vendor == "postgresql" else _insert_sqlite
    chunks = list(_chunks(specs))
    try:
        if len(chunks) == 1 and connection.vendor == "postgresql":
            # One statement is a transaction by itself.
            _insert_chunk(alias, insert, specs, chunks[0], answers)
        else:
            with transaction.atomic(using=alias, savepoint=False):
                for chunk in chunks:
                    _insert_chunk(alias, insert, specs, chunk, answers)
    except (OperationalError, ProgrammingError) as error:
        # PostgreSQL's OperationalErrors are others: a deadlock names the table too.
        missing = isinstance(error, ProgrammingError) or connection.vendor == "sqlite"
        if missing and any(name in str(error) for name in ("task_runs", "reproq_insert_runs")):
            error.add_note(
                f"The tables of Reproq are missing or old in the database {alias!r}: run `manage.py migrate"
                + ("`." if alias == "default" else f" --database {alias}`.")
            )
        raise
    return [answer for answer in answers if answer is not None]


def _insert_chunk(
    alias: str, insert: Any, specs: Sequence[RunSpec], chunk: range, answers: list[Inserted | TaskRun | None]
) -> None:
    connection = connections[alias]
    # Two enqueues that share specs insert them in one order, so neither waits for a row of the other's while
    # it holds one that the other waits for. Trying again would break the order for what is held until the
    # caller's transaction ends, unless all of it is let go first.
    lets_go = connection.vendor == "postgresql" and connection.in_atomic_block and len(chunk) > 1
    waiting = list(chunk)
    for attempt in range(1, _TWIN_ATTEMPTS + 1):
        try:
            with transaction.atomic(using=alias) if lets_go else nullcontext():
                _insert_once(alias, insert, specs, waiting, answers)
                waiting = [index for index in waiting if answers[index] is None]
                if waiting and lets_go and attempt < _TWIN_ATTEMPTS:
                    raise _LetGo
        except _LetGo:
            waiting = list(chunk)
            for index in chunk:
                answers[index] = None
        if not waiting:
            return
    # Twins come and go faster than they can be looked at: run these, rather than lose them.
    for position, inserted in insert(alias, [replace(specs[index], dedup=Dedup.NONE) for index in waiting]):
        answers[waiting[position]] = inserted


class _LetGo(Exception):
    """Rolls back to the savepoint."""


def _insert_once(
    alias: str,
    insert: Any,
    specs: Sequence[RunSpec],
    waiting: list[int],
    answers: list[Inserted | TaskRun | None],
) -> None:
    """Answers those of ``waiting`` that are new, or whose twin is still there."""
    for position, inserted in insert(alias, [specs[index] for index in waiting]):
        answers[waiting[position]] = inserted
    left = [index for index in waiting if answers[index] is None]
    if left:
        twins = _twins(alias, [specs[index] for index in left])
        for index in left:
            answers[index] = twins.get((specs[index].spec_hash, specs[index].dedup))


def _twins(alias: str, specs: list[RunSpec]) -> dict[tuple[str, int], TaskRun]:
    """The runs that stand for these specs now. The conditions are those of the unique indexes."""
    hashes = {
        mode: [spec.spec_hash for spec in specs if spec.dedup == mode] for mode in (Dedup.READY, Dedup.ACTIVE)
    }
    ready = models.Q(dedup=Dedup.READY, status__in=[RunStatus.READY, RunStatus.WAITING])
    active = models.Q(dedup=Dedup.ACTIVE, status__in=[RunStatus.READY, RunStatus.RUNNING, RunStatus.WAITING])
    found = TaskRun.objects.using(alias).filter(
        (ready & models.Q(spec_hash__in=hashes[Dedup.READY]))
        | (active & models.Q(spec_hash__in=hashes[Dedup.ACTIVE]))
    )
    return {(run.spec_hash, run.dedup): run for run in found}


def _insert_postgres(alias: str, specs: list[RunSpec]) -> Iterator[tuple[int, Inserted]]:
    shared, own = _divided(specs)
    columns = {
        # The texts themselves, so that what is stored is what was hashed. JSON has no line breaks of its own.
        "specs": "\n".join([spec.spec_json for spec in specs]),
        "shared": _fields(shared),
        "runs": f"[{','.join(own)}]",
    }
    with connections[alias].cursor() as cursor:
        cursor.execute(statement("postgresql", "insert_runs"), columns)
        ids, enqueued_at = cursor.fetchone()
    for position, result_id in enumerate(ids):
        if result_id is not None:
            yield position, Inserted(result_id, enqueued_at)


def _divided(specs: list[RunSpec]) -> tuple[dict[str, Any], list[str]]:
    """What all of them have in common, and of each what it has not, as JSON."""
    if len(specs) == 1:
        return dict(zip(_COLUMNS, _values_of(specs[0]), strict=True)), ["{}"]
    shared: dict[str, Any] = {}
    own: dict[str, tuple[Any, ...]] = {}
    for name, values in zip(_COLUMNS, zip(*map(_values_of, specs), strict=True), strict=True):
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


def _insert_sqlite(alias: str, specs: list[RunSpec]) -> Iterator[tuple[int, Inserted]]:
    insert = statement("sqlite", "insert_run")
    rows = [_sqlite_row(spec) for spec in specs]
    with connections[alias].cursor() as cursor:
        for position, row in enumerate(rows):
            if position > 0 and row["result_id"] is None:
                # By now this transaction is the one that writes, so nobody else takes ids.
                yield from _insert_sqlite_rest(cursor, rows, position)
                return
            cursor.execute(f"{insert} RETURNING result_id, enqueued_at", row)
            # All rows, so that the statement is over before the transaction is.
            for result_id, enqueued_at in cursor.fetchall():
                yield position, Inserted(result_id, _from_sqlite(enqueued_at))


def _insert_sqlite_rest(
    cursor: Any, rows: list[dict[str, Any]], start: int
) -> Iterator[tuple[int, Inserted]]:
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


def _sqlite_row(spec: RunSpec) -> dict[str, Any]:
    row: dict[str, Any] = dict(zip(_COLUMNS, _values_of(spec), strict=True))
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


def _chunks(specs: Sequence[RunSpec]) -> Iterator[range]:
    start, size = 0, 0
    for index, spec in enumerate(specs):
        if index > start and (index - start == MAX_ROWS or size + len(spec.spec_json) > MAX_TEXT):
            yield range(start, index)
            start, size = index, 0
        size += len(spec.spec_json)
    if start < len(specs):
        yield range(start, len(specs))
