"""The measurements. Each takes a site and gives plain figures; seconds unless the name says otherwise."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from django.db.models import Max, Min
from django.tasks import default_task_backend

from bench import tasks
from bench.machine import FamilyCpu, MachineCpu, pss_mib
from bench.server import Server
from bench.site import Site, Worker, until

OPEN = ("READY", "RUNNING", "WAITING")
#: Between two looks at whether all is done. The figures come from the rows, not from when we looked.
LOOK_SECONDS = 0.05
#: A backlog or a single run that takes longer has lost something.
LOST_SECONDS = 180
#: Random, so that no rhythm of ours meets one of the worker's.
GAP_SECONDS = (0.005, 0.1)
SETTLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much to measure."""

    drained: int
    """No-ops in the backlog."""
    latencies: int
    """Single enqueues."""


@dataclass(slots=True)
class CpuSplit:
    """CPU seconds between two points in time, by who used them."""

    worker: float
    """The binary."""
    children: float
    """The Python processes below it."""
    database: float
    """The server's processes; 0 for SQLite, which works in its clients."""
    others: float
    """Everything else on this machine but this process: what disturbed."""
    steal: float

    @classmethod
    def of(cls, server: Server, worker: Worker, work: Callable[[], object]) -> Self:
        """What ``work`` cost."""
        machine, family, database, own = _cpu(server, worker)
        work()
        machine_after, family_after, database_after, own_after = _cpu(server, worker)
        head, descendants = family_after.head - family.head, family_after.descendants - family.descendants
        served = database_after - database
        ours = head + descendants + served + own_after - own
        others = max(0.0, machine_after.busy - machine.busy - ours)
        return cls(head, descendants, served, others, machine_after.steal - machine.steal)


def _cpu(server: Server, worker: Worker) -> tuple[MachineCpu, FamilyCpu, float, float]:
    return MachineCpu.now(), FamilyCpu.of(worker.pid), server.cpu_seconds(), time.process_time()


@dataclass(slots=True)
class Sample:
    """One repetition of everything in one mode on one database."""

    count: int
    slots: int
    bulk_enqueue: float
    """How long the backlog took to be enqueued."""
    drain: float = 0.0
    """First claim to last end, by the rows."""
    drain_since_ready: float = 0.0
    """Worker ready to last end."""
    cold_start: float = 0.0
    """Worker spawned to first claim."""
    cpu: CpuSplit | None = None
    lost: int = 0
    repeated: int = 0
    start_latencies: list[float] = field(default_factory=list)
    """Before the call of enqueue() to the task's first line, each."""
    enqueue_calls: list[float] = field(default_factory=list)
    """How long the same calls of enqueue() took."""
    worker_pss_mib: float = 0.0
    children: int = 0
    children_pss_mib: float = 0.0


def measure(site: Site, amounts: Amounts) -> Sample:
    """A backlog drained by a worker that starts, then single runs on the idle worker, then its memory."""
    sample = _enqueue_backlog(site, amounts.drained)
    with site.worker() as worker:
        _drain(site, worker, sample)
        _latency(site, amounts.latencies, sample)
        time.sleep(SETTLE_SECONDS)
        children = worker.children()
        sample.worker_pss_mib = pss_mib([worker.pid])
        sample.children, sample.children_pss_mib = len(children), pss_mib(children)
    # Each run by its row: not successful is lost, more than one attempt is repeated.
    runs = site.runs()
    sample.lost = amounts.drained + amounts.latencies - runs.filter(status="SUCCESSFUL").count()
    sample.repeated = runs.filter(attempts__gt=1).count()
    return sample


def _enqueue_backlog(site: Site, count: int) -> Sample:
    began = time.perf_counter()
    default_task_backend.bulk_enqueue([(tasks.noop, (number,), {}) for number in range(count)])
    return Sample(count, site.mode.concurrency, bulk_enqueue=time.perf_counter() - began)


def _drain(site: Site, worker: Worker, sample: Sample) -> None:
    def drain() -> None:
        until(lambda: not _is_open(site), seconds=LOST_SECONDS, pause=LOOK_SECONDS)

    sample.cpu = CpuSplit.of(site.server, worker, drain)
    times = site.runs().aggregate(first=Min("last_attempted_at"), last=Max("finished_at"))
    if times["first"] and times["last"]:
        first, last = times["first"].timestamp(), times["last"].timestamp()
        sample.drain, sample.drain_since_ready = last - first, last - worker.ready_at
        sample.cold_start = first - worker.spawned_at


def _latency(site: Site, count: int, sample: Sample) -> None:
    gaps = random.Random(count)
    enqueued: list[tuple[int, Any]] = []
    for number in range(count):
        began = time.time_ns()
        result = tasks.started_at.enqueue(number)
        sample.enqueue_calls.append((time.time_ns() - began) / 1e9)
        enqueued.append((began, int(result.id)))
        time.sleep(LOOK_SECONDS / 5)
        until(lambda: not _is_open(site), seconds=LOST_SECONDS, pause=LOOK_SECONDS / 5)
        # Now the worker is idle; what comes next finds it so.
        time.sleep(gaps.uniform(*GAP_SECONDS))
    started = dict(site.runs(status="SUCCESSFUL").values_list("pk", "return_json"))
    sample.start_latencies = [(started[pk] - began) / 1e9 for began, pk in enqueued if started.get(pk)]


def _is_open(site: Site) -> bool:
    return bool(site.runs(status__in=OPEN).exists())
