"""What a phase costs: CPU by whose it is, and what PostgreSQL has written and read for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.machine import MachineCpu
from bench.peers import brokers
from bench.peers.worker import Place, Worker

COUNTERS = ("transactions", "buffers_hit", "buffers_read", "rows_written")
QUERY = """
SELECT xact_commit + xact_rollback, blks_hit, blks_read, tup_inserted + tup_updated + tup_deleted,
       pg_current_wal_insert_lsn() - '0/0'::pg_lsn
FROM pg_stat_database WHERE datname = '{name}'
"""
#: A connection reports what it has done at the latest so long after, and at its end.
REPORT_SECONDS = 1.1


@dataclass(slots=True)
class DatabaseCost:
    """Of a phase, for all that it did. Empty on SQLite."""

    counts: dict[str, float] = field(default_factory=dict)

    def each(self, what: str, count: int) -> dict[str, float]:
        """By task."""
        return {f"{what}_{name}": value / max(1, count) for name, value in self.counts.items()}


@contextmanager
def of_database(place: Place) -> Iterator[DatabaseCost]:
    cost = DatabaseCost()
    if place.peer.on_sqlite:
        yield cost
        return
    before = _counters(place)
    yield cost
    after = _counters(place)
    names = (*COUNTERS, "wal_bytes")
    cost.counts = {name: float(new - old) for name, new, old in zip(names, after, before, strict=True)}


def _counters(place: Place) -> tuple[int, ...]:
    time.sleep(REPORT_SECONDS)
    return tuple(int(value) for value in place.places.row(QUERY.format(name=place.database)))


def connections(place: Place) -> int:
    """To the site's database, whoever has them."""
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' "
        f"AND datname = '{place.database}'"
    )
    return int(place.places.row(query)[0])


class Spent:
    """CPU seconds between two moments, by who used them."""

    def __init__(self, place: Place, broker: brokers.Broker | None, working: Worker) -> None:
        self._place, self._broker, self._working = place, broker, working
        self._before: dict[str, float] = {}
        self._after: dict[str, float] = {}
        self._begun = self._ended = 0

    def begin(self, begun: int) -> None:
        """``begun``: how many tasks have begun by now."""
        self._before, self._begun = self._now(), begun

    def end(self, begun: int) -> None:
        self._after, self._ended = self._now(), begun

    def _now(self) -> dict[str, float]:
        machine, own = MachineCpu.now(), time.process_time()
        return {
            "worker": self._working.family.cpu_seconds(),
            "head": self._working.family.head_cpu_seconds(),
            "database": self._place.places.cpu_seconds(),
            "broker": self._broker.cpu_seconds() if self._broker else 0.0,
            "busy": machine.busy,
            "steal": machine.steal,
            "own": own,
            "clock": time.monotonic(),
        }

    def figures(self) -> dict[str, float]:
        spent = {name: self._after[name] - value for name, value in self._before.items()}
        tasks, clock = self._ended - self._begun, max(1e-9, spent["clock"])
        if tasks <= 0:
            return {}
        ours = spent["worker"] + spent["database"] + spent["broker"] + spent["own"]
        return {
            "worker_cpu_ms": spent["worker"] / tasks * 1000,
            "head_cpu_ms": spent["head"] / tasks * 1000,
            "database_cpu_ms": spent["database"] / tasks * 1000,
            "broker_cpu_ms": spent["broker"] / tasks * 1000,
            "cpu_ms": (spent["worker"] + spent["database"] + spent["broker"]) / tasks * 1000,
            "foreign_cores": max(0.0, spent["busy"] - ours) / clock,
            "steal_cores": spent["steal"] / clock,
        }
