"""One repetition of one peer. Three phases, each in an empty place: enqueue; drain a backlog with a worker
that starts on it; what a warm worker does. Seconds, unless a name says otherwise.
"""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from bench.machine import pss_mib
from bench.peers import brokers, costs, worker
from bench.peers.peer import Peer
from bench.peers.processes import STOP_SECONDS
from bench.peers.witness import Found
from bench.peers.worker import Client, Place, Worker
from bench.site import BenchError, until

#: What is enqueued before a measurement, so that connections and children are there.
WARM = 20
WARM_SECONDS = 0.2
#: Of a backlog, how much goes by before the clock starts: by then all of a peer's processes are at work.
SKIPPED = 0.2
#: At most so much as could be enqueued one by one in this time.
BULK_SECONDS = 15
LOOK_SECONDS = 0.005
#: What nothing has been heard of for so long is lost.
LOST_SECONDS = 20
#: What a peer or its broker that does not work can end in here.
BROKEN = (BenchError, OSError, ValueError, subprocess.SubprocessError, psycopg.Error)

type Entry = tuple[int, int, int]
"""A number, when its enqueue was called, and how long that took: nanoseconds, as ``client`` answers."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much of it."""

    enqueue_seconds: float
    clients: int
    bulk: int
    drain_seconds: float
    """Roughly, for each backlog."""
    singles: int
    single_seconds: float
    """When so long has gone by, those that have been enqueued singly are enough."""
    load_seconds: float
    idle_seconds: float
    most: int = 30_000
    """In a backlog."""

    def backlog(self, per_second: float) -> int:
        return int(min(self.most, max(12, per_second * self.drain_seconds)))


@dataclass(slots=True)
class Sample:
    """What a turn has found. Lists are milliseconds of single tasks."""

    figures: dict[str, float] = field(default_factory=dict)
    starts_idle: list[float] = field(default_factory=list)
    starts_loaded: list[float] = field(default_factory=list)
    enqueue_calls: list[float] = field(default_factory=list)
    lost: int = 0
    repeated: int = 0
    notes: list[str] = field(default_factory=list)

    def count(self, found: Found) -> None:
        self.lost += found.lost
        self.repeated += found.repeated


def measure(peer: Peer, places: brokers.Places, amounts: Amounts, folder: Path) -> Sample:
    """Raises BenchError when the peer does not work here."""
    sample = Sample()
    with ExitStack() as stack:
        broker_folder = folder / "broker"
        broker_folder.mkdir(parents=True)
        broker = brokers.start(peer, broker_folder)
        if broker:
            stack.callback(broker.stop)
        stack.callback(places.drop)
        _enqueue(worker.prepared(peer, places, broker, folder / "enqueue"), amounts, sample)
        drained = worker.prepared(peer, places, broker, folder / "drain")
        _drain(drained, broker, amounts.backlog(peer.pace), sample)
        _warm(worker.prepared(peer, places, broker, folder / "warm"), broker, amounts, sample)
    return sample


def _enqueue(place: Place, amounts: Amounts, sample: Sample) -> None:
    # A connection's statistics are complete once it has ended, so this client is alone and ends.
    with costs.of_database(place) as cost, place.client() as alone:
        first = alone.ask("for", kind="noop", base=-1_000_000, seconds=WARM_SECONDS)
        one = alone.ask("for", kind="noop", base=0, seconds=amounts.enqueue_seconds)
    sample.figures |= cost.each("enqueue", first["count"] + one["count"])
    sample.figures["enqueue_per_second"] = one["count"] / one["seconds"]
    with place.clients(amounts.clients) as clients:
        for number, client in enumerate(clients, 2):
            client.order("for", kind="noop", base=-number * 1_000_000, seconds=WARM_SECONDS)
        for client in clients:
            client.answer()
        for number, client in enumerate(clients, 1):
            client.order("for", kind="noop", base=number * 10_000_000, seconds=amounts.enqueue_seconds)
        many = [client.answer() for client in clients]
        sample.figures["enqueue_by_many_per_second"] = sum(one["count"] / one["seconds"] for one in many)
        # Who has no bulk enqueue would take minutes for as many.
        count = min(amounts.bulk, max(50, int(sample.figures["enqueue_per_second"] * BULK_SECONDS)))
        bulk = clients[0].ask("bulk", kind="noop", base=1_000_000_000, count=count)
        sample.figures["bulk_enqueue_per_second"] = bulk["count"] / bulk["seconds"]


def _drain(place: Place, broker: brokers.Broker | None, count: int, sample: Sample) -> None:
    with place.client() as client:
        place.places.checkpoint()
        client.ask("bulk", kind="noop", base=0, count=count)
        place.places.analyze(place.peer, place.database)
        # The statistics of PostgreSQL are complete once the worker's connections have ended.
        with costs.of_database(place) as cost, place.worker() as working:
            spent = costs.Spent(place, broker, working)
            first = int(count * SKIPPED)
            _reached(place, working, first, sample)
            spent.begin(place.witness.count())
            _done(place, working, client, count, sample)
            ended = time.time()
            spent.end(count)
    sample.figures |= cost.each("drain", count)
    sample.count(place.witness.check(range(count)))
    starts = sorted(place.witness.starts().values())
    if len(starts) > first + 1:
        sample.figures["drain_per_second"] = (count - first) / (ended - starts[first] / 1e9)
        sample.figures["cold_start_seconds"] = starts[0] / 1e9 - working.spawned_at
        sample.figures |= spent.figures()
    _ended(working, sample)


def _warm(place: Place, broker: brokers.Broker | None, amounts: Amounts, sample: Sample) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(place.client())
        client.ask("left", total=0)
        # The client's own, which are not the worker's.
        others = 0 if place.peer.on_sqlite else costs.connections(place)
        warm = _Warm(place, stack.enter_context(place.worker()), client, sample)
        warm.bulk("noop", 0, WARM)
        entries = warm.single(100_000, amounts.singles, amounts.single_seconds)
        sample.starts_idle = _starts(place, entries)
        sample.enqueue_calls = [took / 1e6 for _, _, took in entries]
        _idle(place, broker, warm.working, amounts.idle_seconds, sample)
        if not place.peer.on_sqlite:
            sample.figures["connections"] = costs.connections(place) - others
        for number, (kind, rate) in enumerate(KINDS.items(), 2):
            count = amounts.backlog(min(rate, place.peer.pace))
            began = time.time()
            warm.bulk(kind, number * 100_000, count)
            sample.figures[f"{kind}_per_second"] = count / (time.time() - began)
        sample.starts_loaded = _starts(place, warm.load(10_000_000, amounts.load_seconds))
    _ended(warm.working, sample)
    sample.count(place.witness.check(warm.numbers))


KINDS = {"rest": 190.0, "cpu": 300.0, "orm": 600.0, "async_rest": 1_000.0}
"""At most so many a second, for the size of a backlog."""


@dataclass(slots=True)
class _Warm:
    """A worker that is there, and what it has been given."""

    place: Place
    working: Worker
    client: Client
    sample: Sample
    numbers: list[int] = field(default_factory=list)

    def bulk(self, kind: str, base: int, count: int) -> None:
        self.client.ask("bulk", kind=kind, base=base, count=count)
        self._done(base, count)

    def single(self, base: int, count: int, seconds: float) -> list[Entry]:
        entries = self.client.ask("single", kind="noop", base=base, count=count, seconds=seconds)
        self._done(base, len(entries))
        return list(entries)

    def load(self, base: int, seconds: float) -> list[Entry]:
        """At half of what is drained, or of what one process enqueues, where that is less."""
        figures = self.sample.figures
        rate = min(figures.get("drain_per_second", 20.0), figures["enqueue_per_second"]) / 2
        count = max(10, int(rate * seconds))
        self.client.order("paced", kind="noop", base=base, count=count, per_second=rate)
        time.sleep(count / rate / 2)
        figures["busy_pss_mib"] = pss_mib(self.working.family.members())
        entries = self.client.answer()
        self._done(base, count)
        figures["load_per_second"] = rate
        return list(entries)

    def _done(self, base: int, count: int) -> None:
        self.numbers += range(base, base + count)
        _done(self.place, self.working, self.client, len(self.numbers), self.sample)


def _idle(
    place: Place, broker: brokers.Broker | None, working: Worker, seconds: float, sample: Sample
) -> None:
    time.sleep(1.0)
    before, began = working.family.scheduled_seconds(), time.monotonic()
    time.sleep(seconds)
    spent = working.family.scheduled_seconds() - before
    members = working.family.members()
    sample.figures |= {
        "idle_cpu_percent": spent / (time.monotonic() - began) * 100,
        "idle_pss_mib": pss_mib(members),
        "idle_processes": len(members),
        "idle_head_pss_mib": pss_mib(working.family.heads),
        "broker_pss_mib": broker.pss_mib() if broker else 0.0,
    }


def _starts(place: Place, entries: list[Entry]) -> list[float]:
    """From before the call to the task's first line; what never began is not among them."""
    began = place.witness.starts()
    return [(began[number] - called) / 1e6 for number, called, _ in entries if number in began]


def _ended(working: Worker, sample: Sample) -> None:
    if not working.ended_in_time:
        sample.notes.append(f"its worker did not end within {STOP_SECONDS} s of SIGTERM")


def _reached(place: Place, working: Worker, count: int, sample: Sample) -> None:
    seen, heard = place.witness.count(), time.monotonic()
    while seen < count:
        if not working.family.is_alive():
            raise BenchError(f"its worker has ended by itself:\n{working.family.said()}")
        time.sleep(LOOK_SECONDS)
        now = place.witness.count()
        if now > seen:
            seen, heard = now, time.monotonic()
        elif time.monotonic() - heard > LOST_SECONDS:
            sample.notes.append(f"only {seen} of {count} tasks had begun when {LOST_SECONDS} s had gone by")
            if not seen:
                raise BenchError(f"no task has begun in {LOST_SECONDS} s:\n{working.family.said()}")
            return


def _done(place: Place, working: Worker, client: Client, total: int, sample: Sample) -> None:
    """Until so many have begun and the peer itself has none left."""
    _reached(place, working, total, sample)
    if not until(lambda: not client.ask("left", total=total), seconds=LOST_SECONDS, pause=LOOK_SECONDS):
        sample.notes.append(f"{client.ask('left', total=total)} tasks were still open at the end")
