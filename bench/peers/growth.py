"""How ours does as things grow: rows that wait, rows that have ended, workers, slots. No-ops drained a
second.

Every case has a place of its own that stays over the rounds; a round starts the worker of each in turn, so
what disturbs the machine disturbs all alike. The clock runs between two of the records at the witness.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.backlogs import Rows
from bench.peers import brokers, reproq, worker
from bench.peers.peer import Peer
from bench.peers.witness import Witness
from bench.peers.worker import Place
from bench.site import BenchError, until

#: Rows that one statement makes.
MOST = 1_000_000
#: Of a round's tasks, how many go by before the clock starts, and how many more are there than are counted.
SKIPPED, SPARE = 0.2, 0.5
LOST_SECONDS = 120
FINISHED = (
    ("status", "'SUCCESSFUL'"),
    ("attempts", "1"),
    ("started_at", "+0"),
    ("finished_at", "+0"),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it."""

    drained: int
    """In a round, by each case."""
    rounds: int
    ready: int
    finished: dict[str, int]
    """By database."""


PLANS = {
    "full": Plan(10_000, 5, 1_000_000, {"postgres": 10_000_000, "sqlite": 1_000_000}),
    "quick": Plan(3_000, 2, 50_000, {"postgres": 100_000, "sqlite": 50_000}),
    "smoke": Plan(100, 1, 500, {"postgres": 500, "sqlite": 500}),
}
PROCESSES = (1, 2, 4)
SLOTS = (1, 2, 4, 8)


@dataclass
class Case:
    database: str
    axis: str
    name: str
    peer: Peer
    rows: int = 0
    place: Place | None = None
    next_number: int = 1
    rates: list[float] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        return {
            "database": self.database,
            "axis": self.axis,
            "case": self.name,
            "rows": self.rows,
            "median": median(self.rates),
            "min": min(self.rates),
            "max": max(self.rates),
            "rates": self.rates,
        }


def run(plan: Plan) -> dict[str, Any]:
    """Raises BenchError when a worker does not do its work."""
    with ExitStack() as stack:
        places = brokers.Places(stack)
        stack.callback(places.drop)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-")))
        cases = _cases(plan)
        for number, case in enumerate(cases):
            began = time.monotonic()
            _fill(case, places, folder / str(number))
            _say(f"{case.database}, {case.axis}: {case.name}: made in {time.monotonic() - began:.0f} s")
        for turn in range(plan.rounds):
            for case in cases:
                case.rates.append(_round(case, places, plan.drained))
            _say(f"{turn + 1} of {plan.rounds} rounds")
        return {
            "plan": {"drained": plan.drained, "rounds": plan.rounds},
            "cases": [c.told() for c in cases],
        } | {"flat": _flat(cases)}


def _cases(plan: Plan) -> list[Case]:
    cases = []
    for database in ("postgres", "sqlite"):
        peer = reproq.ours("pool", database)
        cases += [
            Case(database, "rows", "empty", peer),
            Case(database, "rows", f"{plan.ready:,} ready", peer, plan.ready),
            Case(database, "rows", f"{plan.finished[database]:,} finished", peer, plan.finished[database]),
        ]
        if database == "postgres":
            # One worker per SQLite file.
            for count in PROCESSES:
                peer = reproq.ours("pool", database, processes=count)
                cases.append(Case(database, "workers", f"{count} with 2 slots", peer))
        for slots in SLOTS:
            cases.append(Case(database, "slots", str(slots), reproq.ours("pool", database, slots=slots)))
    return cases


def _flat(cases: list[Case]) -> dict[str, dict[str, dict[str, float]]]:
    """The median of the rounds' ratios to the empty table's of the same round."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for database in ("postgres", "sqlite"):
        empty, *others = (case for case in cases if (case.database, case.axis) == (database, "rows"))
        for case in others:
            ratios = [rate / base for rate, base in zip(case.rates, empty.rates, strict=True)]
            one = {"rows": case.rows, "ratio": median(ratios), "min": min(ratios), "max": max(ratios)}
            found.setdefault(database, {})[case.name.split()[-1]] = one
    return found


def _fill(case: Case, places: brokers.Places, folder: Path) -> None:
    case.place = worker.prepared(case.peer, places, None, folder)
    if case.name.endswith("ready"):
        with case.place.client() as client:
            client.ask("bulk", kind="noop", base=0, count=1)
        for first in range(1, case.rows + 1, MOST):
            _execute(case, places, _ready(case.database, first, min(case.rows, first + MOST - 1)))
    elif case.rows:
        vendor = "postgresql" if case.database == "postgres" else "sqlite"
        for first in range(0, case.rows, MOST):
            insert = Rows(min(MOST, case.rows - first), FINISHED).insert(vendor)
            # Triggers are for runs that wait: what has ended has no lane.
            off = "SET session_replication_role = replica; " if vendor == "postgresql" else ""
            _execute(case, places, off + insert)
    if case.database == "postgres":
        _execute(case, places, "VACUUM ANALYZE")
    places.checkpoint()


def _ready(database: str, first: int, last: int) -> str:
    """Copies of the one that has been enqueued, each with a number of its own."""
    numbers = (
        f"numbers (n) AS (SELECT generate_series({first}, {last}))"
        if database == "postgres"
        else f"RECURSIVE numbers (n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM numbers WHERE n < {last})"
    )
    kind = "JSON" if database == "postgres" else "TEXT"
    spec = f"CAST(replace(CAST(one.spec_json AS TEXT), '[0]', '[' || CAST(n AS TEXT) || ']') AS {kind})"
    return (
        f"WITH {numbers} "
        "INSERT INTO task_runs (spec_json, spec_hash, task_path, timeout_seconds, max_attempts) "
        f"SELECT {spec}, '{'0' * 50}' || CAST(n + 10000000000000 AS TEXT), "
        "one.task_path, one.timeout_seconds, one.max_attempts "
        "FROM numbers, (SELECT * FROM task_runs ORDER BY result_id LIMIT 1) AS one ORDER BY n"
    )


def _execute(case: Case, places: brokers.Places, statement: str) -> None:
    assert case.place
    if case.database == "postgres":
        places.execute(statement, case.place.database)
        return
    connection = sqlite3.connect(case.place.database)
    try:
        with connection:
            connection.execute(statement)
    finally:
        connection.close()


def _round(case: Case, places: brokers.Places, count: int) -> float:
    """Tasks a second."""
    assert case.place
    place, wanted = case.place, int(count * (1 + SPARE))
    place.witness = Witness(place.witness.path)
    if not case.name.endswith("ready"):
        with place.client() as client:
            client.ask("bulk", kind="noop", base=case.next_number, count=wanted)
        case.next_number += wanted
    places.checkpoint()
    places.analyze(case.peer, place.database)
    with place.worker() as working:
        reached = until(
            lambda: place.witness.count() > count or not working.family.is_alive(),
            seconds=LOST_SECONDS,
            pause=0.005,
        )
        if not reached or not working.family.is_alive():
            raise BenchError(
                f"{case.name}: {place.witness.count()} of {count} begun:\n{working.family.said()}"
            )
        if not case.name.endswith("ready"):
            # The next round begins empty.
            until(lambda: place.witness.count() >= wanted, seconds=LOST_SECONDS, pause=0.02)
            time.sleep(0.2)
    times = sorted(place.witness.starts().values())
    first = int(count * SKIPPED)
    return (count - first) / ((times[count] - times[first]) / 1e9)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
