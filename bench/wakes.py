"""``python -m bench enqueues`` and ``python -m bench starts``: what NOTIFY costs, and what its absence costs.

Enqueues: eight processes enqueue one by one while a worker is busy; in turns on a site as it is, and on one
whose workers never seem to want to be woken, so that no enqueue notifies. Starts: from before ``enqueue()``
to the first line of the task, on workers that have been idle for a while: as it is, with every notification
lost, and behind a transaction pooler. The workers of all sites wait side by side.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench import tasks
from bench.report import percentile, table
from bench.server import Between, Postgres, PostgresCluster, Server
from bench.site import BenchError, Client, Mode, Site, new_site, until

MODE = Mode("pool", 10)
CLIENTS = 8
OPEN = ("READY", "RUNNING", "WAITING")
DRAINED_SECONDS = 180
#: A trigger that leaves the product as it is: whatever a worker says, nobody reads that it wants to be woken.
UNHEARD = """
CREATE FUNCTION bench_unheard() RETURNS TRIGGER LANGUAGE plpgsql AS
    $$ BEGIN NEW.wants_wake := FALSE; RETURN NEW; END $$;
CREATE TRIGGER bench_unheard BEFORE INSERT OR UPDATE ON reproq_workers
    FOR EACH ROW EXECUTE FUNCTION bench_unheard();
"""
#: Rest before a single enqueue: long enough for the slowest poll, and of no rhythm.
REST_SECONDS = (0.5, 3.0)
ALLOWED_RATE = 0.9
ALLOWED_START = 1.2


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it."""

    rounds: int
    """Of enqueueing, on each site."""
    seconds: float
    """In one round."""
    sites: int
    """Where starts are measured, for each way."""
    starts: int
    """On each site."""


FULL = Plan(rounds=15, seconds=4.0, sites=3, starts=60)
QUICK = Plan(rounds=3, seconds=2.0, sites=2, starts=6)


@contextmanager
def _site(server: Server, alias: str) -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory(prefix="reproq-bench-site-") as folder,
        new_site(server, MODE, Path(folder), alias) as site,
    ):
        yield site


def _sound(site: Site) -> bool:
    return not site.runs().exclude(status="SUCCESSFUL", attempts=1).exists()


@dataclass(slots=True)
class Enqueued:
    """Enqueues per second by round, with NOTIFY and without."""

    on: list[float] = field(default_factory=list)
    off: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """Each round against its neighbour: what disturbs for longer cancels out."""
        return median(on / off for on, off in zip(self.on, self.off, strict=True))


def enqueues(plan: Plan) -> tuple[str, Any, bool]:
    found = {"slots full": Enqueued(), "keeps up": Enqueued()}
    with ExitStack() as stack:
        postgres = Postgres(stack.enter_context(PostgresCluster(durable=True)))
        sites = {name: stack.enter_context(_site(postgres, name)) for name in ("on", "off")}
        sites["off"].execute(UNHEARD)
        clients = {
            name: [stack.enter_context(Client(site)) for _ in range(CLIENTS)] for name, site in sites.items()
        }
        for client in [*clients["on"], *clients["off"]]:
            client.answer()
        for site in sites.values():
            stack.enter_context(site.worker())
        for number in range(plan.rounds):
            for full, one in zip((True, False), found.values(), strict=True):
                # Neither is always the one that comes after the other.
                for name in ("on", "off") if number % 2 else ("off", "on"):
                    rate = _enqueue_round(sites[name], clients[name], plan.seconds, full=full)
                    getattr(one, name).append(rate)
            print(f"{number + 1} of {plan.rounds} rounds", file=sys.stderr, flush=True)
        sound = all(_sound(site) for site in sites.values())
    samples = {name: {"on": one.on, "off": one.off} for name, one in found.items()}
    return _enqueues_as_text(plan, found, sound=sound), samples, sound


def _enqueue_round(site: Site, clients: Sequence[Client], seconds: float, *, full: bool) -> float:
    if full:
        clients[0].order(f"rest {int(MODE.concurrency * seconds / tasks.REST_SECONDS)}")
        clients[0].answer()
        until(lambda: site.runs(status="RUNNING").exists(), seconds=DRAINED_SECONDS, pause=0.01)
    for client in clients:
        client.order(f"for {seconds}")
    count = sum(int(client.answer()) for client in clients)
    if not until(lambda: not site.runs(status__in=OPEN).exists(), seconds=DRAINED_SECONDS, pause=0.1):
        raise BenchError("the worker does not empty its queue")
    return count / seconds


def _enqueues_as_text(plan: Plan, found: dict[str, Enqueued], *, sound: bool) -> str:
    rows = [("worker", "enqueues/s, NOTIFY on", "off", "on/off", "least", "most")]
    for name, one in found.items():
        ratios = [on / off for on, off in zip(one.on, one.off, strict=True)]
        rows.append(
            (
                name, f"{median(one.on):,.0f}", f"{median(one.off):,.0f}", f"{one.ratio:.2f}",
                f"{min(ratios):.2f}", f"{max(ratios):.2f}",
            )
        )  # fmt: skip
    return "\n".join(
        [
            f"{CLIENTS} clients, one run per call, {plan.rounds} rounds of {plan.seconds:.0f} s on each site",
            table(rows, texts={0}),
            _within(
                found["slots full"].ratio >= ALLOWED_RATE, f"NOTIFY costs at most {1 - ALLOWED_RATE:.0%}"
            ),
            _verdict(sound=sound),
        ]
    )


def starts(plan: Plan) -> tuple[str, Any, bool]:
    found: dict[str, list[float]] = {}
    with ExitStack() as stack:
        postgres = Postgres(stack.enter_context(PostgresCluster(durable=True)))
        ways: dict[str, Server] = {
            "as it is": postgres,
            "every notification lost": stack.enter_context(Between(postgres, "deaf")),
            "transaction pooler": stack.enter_context(Between(postgres, "transaction")),
        }
        places = []
        for number in range(plan.sites):
            for way, server in ways.items():
                site = stack.enter_context(_site(server, f"site_{number}_{len(places)}"))
                client = stack.enter_context(Client(site))
                client.answer()
                stack.enter_context(site.worker())
                places.append((way, site, client))
        least, most = REST_SECONDS
        for _, _, client in places:
            client.order(f"single {plan.starts} {least} {most}")
        for way, site, client in places:
            enqueued = json.loads(client.answer())
            until(lambda site=site: not site.runs(status__in=OPEN).exists(), seconds=10, pause=0.1)
            started = dict(site.runs(status="SUCCESSFUL").values_list("pk", "return_json"))
            found.setdefault(way, []).extend(
                (started[pk] - began) / 1e9 if pk in started else math.inf for began, pk in enqueued
            )
        sound = all(_sound(site) for _, site, _ in places)
    return _starts_as_text(found, sound=sound), found, sound


def _starts_as_text(found: dict[str, list[float]], *, sound: bool) -> str:
    rows = [("notifications", "start ms p50", "p99", "max", "of")]
    for way, values in found.items():
        figures = (percentile(values, 50), percentile(values, 99), max(values))
        rows.append((way, *(f"{value * 1000:,.1f}" for value in figures), str(len(values))))
    slowest = max(percentile(values, 99) for values in found.values())
    least, most = REST_SECONDS
    return "\n".join(
        [
            f"from before enqueue() to the task's first line, on workers idle for {least}-{most} s",
            table(rows, texts={0}),
            _within(slowest < ALLOWED_START, f"p99 below {ALLOWED_START} s"),
            _verdict(sound=sound),
        ]
    )


def _within(good: bool, what: str) -> str:
    return f"{what}: {'yes' if good else 'NO'}"


def _verdict(*, sound: bool) -> str:
    return "every task ran to its end, and once" if sound else "FAILED: tasks were lost or repeated"
