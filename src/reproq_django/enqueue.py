"""The one place that inserts runs: one, or many, in one transaction per database.

A duplicate (see ``status.Dedup``) is no error: the caller gets the run that stands for it. The INSERT takes
no locks beyond the unique index, so it may sit in a long transaction of the caller's. There a twin of another
transaction waits for that transaction's end; two transactions that enqueue the same runs one by one and in
different order can therefore deadlock, as with any unique column. One bulk enqueue has one order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final, NamedTuple

from django.db import OperationalError, ProgrammingError, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from reproq_django import enqueue_postgres, enqueue_sqlite
from reproq_django.models import TaskRun
from reproq_django.new_rows import Inserted
from reproq_django.spec import RunSpec
from reproq_django.status import Dedup, RunStatus

#: Rows, and characters of spec text, in one statement. PostgreSQL takes no message over 1 GiB.
MAX_ROWS: Final = 1000
MAX_TEXT: Final = 32 * 1024 * 1024

#: How often a twin may end between the INSERT and the look at it before the run is inserted without dedupe.
_TWIN_ATTEMPTS: Final = 10


def insert_runs(
    alias: str, specs: Iterable[RunSpec], answer: Callable[[RunSpec, Inserted | TaskRun], Any] | None = None
) -> list[Any]:
    """Insert runs into the database ``alias``; per spec, in input order, the new row or the run it is a
    duplicate of, or what ``answer`` makes of it.

    Takes part in the caller's transaction if there is one. Raises only what the database raises, and what
    ``specs`` raises if that makes them one by one; nothing is stored then. On PostgreSQL ``answer`` and the
    making of specs take place while the server inserts others, so neither may use the database.
    """
    connection = connections[alias]
    on_postgres = connection.vendor == "postgresql"
    dialect: Any = enqueue_postgres if on_postgres else enqueue_sqlite
    chunks = _Chunks(specs if on_postgres else list(specs), dialect.parameters, answer)
    chunk = chunks.take()
    if chunk is None:
        return []
    several = chunks.more
    # One statement is a transaction by itself. Several that fail half-way must not spoil the caller's.
    alone = not several and (on_postgres or len(chunk.specs) == 1)
    try:
        with (
            transaction.mark_for_rollback_on_error(using=alias)
            if alone
            else transaction.atomic(using=alias, savepoint=several)
        ):
            while chunk:
                # SQLite works in this thread, and nobody else may write as long as it does.
                meanwhile = chunks.prepare if on_postgres and not alone else None
                chunks.inserted(chunk.specs, _Insertion(connection, dialect, chunk, meanwhile).complete())
                chunk = chunks.take()
    except (OperationalError, ProgrammingError) as error:
        # PostgreSQL's OperationalErrors are others: a deadlock names the table too.
        missing = isinstance(error, ProgrammingError) or connection.vendor == "sqlite"
        if missing and any(name in str(error) for name in ("task_runs", "reproq_insert_runs")):
            error.add_note(
                f"The tables of Reproq are missing or old in the database {alias!r}: run `manage.py migrate"
                + ("`." if alias == "default" else f" --database {alias}`.")
            )
        raise
    tell(connection)
    return chunks.answers()


def tell(connection: BaseDatabaseWrapper) -> None:
    """After a transaction that has inserted runs. PostgreSQL notifies workers itself, as it commits."""
    if connection.vendor == "sqlite":
        enqueue_sqlite.tell(connection)


class _Chunk(NamedTuple):
    """The runs of one statement, and its parameters."""

    specs: list[RunSpec]
    parameters: Any


class _Chunks:
    """Specs by the statement, and what callers are told of those that are in."""

    def __init__(
        self,
        specs: Iterable[RunSpec],
        parameters: Callable[[list[RunSpec]], Any],
        answer: Callable[[RunSpec, Inserted | TaskRun], Any] | None,
    ) -> None:
        self._specs = iter(specs)
        self._next = next(self._specs, None)
        self._parameters = parameters
        self._ahead: _Chunk | None = None
        self._answer = answer
        self._answers: list[Any] = []
        self._unanswered: list[tuple[list[RunSpec], list[Inserted | TaskRun | None]]] = []

    @property
    def more(self) -> bool:
        return self._next is not None or self._ahead is not None

    def take(self) -> _Chunk | None:
        """What the next statement inserts; None: that was all."""
        chunk, self._ahead = self._ahead or self._cut(), None
        return chunk

    def inserted(self, specs: list[RunSpec], rows: list[Inserted | TaskRun | None]) -> None:
        self._unanswered.append((specs, rows))

    def prepare(self) -> None:
        """What can be done while a chunk is being inserted: make the next one, answer for those before."""
        self._ahead = self._cut()
        self.answers()

    def answers(self) -> list[Any]:
        answer = self._answer
        for specs, rows in self._unanswered:
            self._answers += [
                row if answer is None else answer(spec, row)
                for spec, row in zip(specs, rows, strict=True)
                if row is not None
            ]
        self._unanswered.clear()
        return self._answers

    def _cut(self) -> _Chunk | None:
        chunk: list[RunSpec] = []
        size = 0
        while (spec := self._next) is not None:
            size += len(spec.spec_json)
            if chunk and (len(chunk) == MAX_ROWS or size > MAX_TEXT):
                break
            chunk.append(spec)
            self._next = next(self._specs, None)
        return _Chunk(chunk, self._parameters(chunk)) if chunk else None


class _Insertion:
    """The runs of one statement on their way in: each becomes a row, or finds the twin that stands for it."""

    def __init__(
        self,
        connection: BaseDatabaseWrapper,
        dialect: Any,
        chunk: _Chunk,
        meanwhile: Callable[[], None] | None,
    ) -> None:
        """``dialect`` is the module that has the connection's INSERT. ``meanwhile``, if there is anything to
        do then, is called once, while the server is at work."""
        self._connection, self._dialect = connection, dialect
        self._specs, self._parameters = chunk.specs, chunk.parameters
        self._meanwhile = meanwhile
        self._start()

    def _start(self) -> None:
        self._answers: list[Inserted | TaskRun | None] = [None] * len(self._specs)
        self._waiting = list(range(len(self._specs)))

    def complete(self) -> list[Inserted | TaskRun | None]:
        # Two enqueues that share specs insert them in one order, so neither waits for a row of the other's
        # while it holds one that the other waits for. Trying again would break the order for what is held
        # until the caller's transaction ends, unless all of it is let go first.
        lets_go = (
            len(self._specs) > 1
            and self._connection.vendor == "postgresql"
            and self._connection.in_atomic_block
        )
        for attempt in range(1, _TWIN_ATTEMPTS + 1):
            try:
                with transaction.atomic(using=self._connection.alias) if lets_go else nullcontext():
                    self._try()
                    if self._waiting and lets_go and attempt < _TWIN_ATTEMPTS:
                        raise _LetGo
            except _LetGo:
                self._start()
            if not self._waiting:
                return self._answers
        # Twins come and go faster than they can be looked at: run these, rather than lose them.
        fresh = [replace(self._specs[index], dedup=Dedup.NONE) for index in self._waiting]
        self._insert(self._dialect.parameters(fresh))
        return self._answers

    def _try(self) -> None:
        """Answers those that are new, or whose twin is still there."""
        waiting = [self._specs[index] for index in self._waiting]
        # Those that came with the chunk are for all of its runs, and for once.
        parameters = self._dialect.parameters(waiting) if self._parameters is None else self._parameters
        self._parameters = None
        self._insert(parameters)
        left = [index for index in self._waiting if self._answers[index] is None]
        if left:
            twins = _twins(self._connection.alias, [self._specs[index] for index in left])
            for index in left:
                self._answers[index] = twins.get((self._specs[index].spec_hash, self._specs[index].dedup))
        self._waiting = [index for index in left if self._answers[index] is None]

    def _insert(self, parameters: Any) -> None:
        meanwhile, self._meanwhile = self._meanwhile, None
        for position, inserted in self._dialect.insert(self._connection, parameters, meanwhile):
            self._answers[self._waiting[position]] = inserted


class _LetGo(Exception):
    """Rolls back to the savepoint."""


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
