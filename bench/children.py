"""What children can do together, and what it costs to replace them.

Coroutines: as many as there are places wait at the same time in one process. Leaks: each task keeps memory,
so its child is replaced again and again; the same without replacing is the measure.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from django.db.models import Max, Min
from django.tasks import default_task_backend

from bench import report, tasks
from bench.measure import LOOK_SECONDS, LOST_SECONDS, OPEN
from bench.server import Postgres, PostgresCluster, Server, Sqlite
from bench.site import BenchError, Mode, Site, new_site, until

#: How long each coroutine waits.
WAIT_SECONDS = 1.0
LEAK_MEBIBYTES = 5
#: What such a task does besides: nothing, or waiting for something.
LEAK_SECONDS = (0.0, 0.01)
#: By so much a child may grow before it is replaced.
GROWTH_MEBIBYTES = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it, and how often."""

    coroutines: int
    leaks: int
    rounds: int


FULL = Plan(1_000, 400, 5)
QUICK = Plan(200, 100, 1)


def run(plan: Plan) -> tuple[str, Any, bool]:
    """What is printed, what is written as JSON, and whether nothing was lost."""
    samples: dict[str, list[dict[str, Any]]] = {"coroutines": [], "leaks": []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-")))
        cluster = stack.enter_context(PostgresCluster(durable=True))
        servers: tuple[Server, ...] = (Sqlite(folder), Postgres(cluster))
        for _ in range(plan.rounds):
            for server in servers:
                samples["coroutines"].append(_coroutines(server, plan.coroutines))
                samples["leaks"] += [_leaks(server, plan.leaks, seconds) for seconds in LEAK_SECONDS]
    return _as_text(plan, samples), samples, True


def _coroutines(server: Server, count: int) -> dict[str, Any]:
    with _site(server, 2) as site, site.worker("--async-concurrency", str(count)):
        # One before: its child is warm, and the worker knows what the queue brings.
        _drained(site, [(tasks.rest_async, (-1, 0.0), {})])
        took, processes = _drained(
            site, [(tasks.rest_async, (number, WAIT_SECONDS), {}) for number in range(count)]
        )
    return {"database": server.name, "seconds": took, "processes": processes}


def _leaks(server: Server, count: int, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = {"database": server.name, "seconds": seconds}
    # 0: none is replaced.
    for name, growth in (("kept", 0), ("replaced", GROWTH_MEBIBYTES)):
        with _site(server, 2) as site, site.worker("--max-child-growth-mb", str(growth)):
            _drained(site, [(tasks.leak, (-1, LEAK_MEBIBYTES, 0.0), {})])
            calls = [(tasks.leak, (number, LEAK_MEBIBYTES, seconds), {}) for number in range(count)]
            took, processes = _drained(site, calls)
            peaks = [run.attempts_json[-1].get("max_rss_kib", 0) for run in site.runs()]
        found[name] = {"per_second": count / took, "processes": processes, "peak_mib": max(peaks) / 1024}
    return found


@contextmanager
def _site(server: Server, slots: int) -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory(prefix="reproq-bench-site-") as folder,
        new_site(server, Mode("pool", slots), Path(folder)) as site,
    ):
        yield site


def _drained(site: Site, calls: list[Any]) -> tuple[float, int]:
    """Seconds from the first start to the last end, and in how many processes that was."""
    first = max(site.runs().values_list("pk", flat=True), default=0)
    default_task_backend.bulk_enqueue(calls)
    done = until(lambda: not site.runs(status__in=OPEN).exists(), seconds=LOST_SECONDS, pause=LOOK_SECONDS)
    runs = site.runs(pk__gt=first, status="SUCCESSFUL")
    if not done or runs.count() != len(calls):
        raise BenchError(f"{len(calls) - runs.count()} of {len(calls)} runs did not succeed")
    times = runs.aggregate(first=Min("last_attempted_at"), last=Max("finished_at"))
    processes = set(runs.values_list("return_json", flat=True))
    return (times["last"] - times["first"]).total_seconds(), len(processes)


def _as_text(plan: Plan, samples: dict[str, list[dict[str, Any]]]) -> str:
    together: list[tuple[str, ...]] = [("database", "s", "min", "max", "processes")]
    leaking: list[tuple[str, ...]] = [
        (
            "database",
            "waits ms",
            "kept/s",
            "replaced/s",
            "ratio",
            "min",
            "max",
            "children",
            "peak MiB",
            "kept: peak MiB",
        )
    ]
    names = ("sqlite", "postgres")
    together.extend((name, *_of_coroutines(samples["coroutines"], name)) for name in names)
    for seconds in LEAK_SECONDS:
        for name in names:
            row = _of_leaks(samples["leaks"], name, seconds)
            leaking.append((name, f"{seconds * 1000:g}", *row))
    coroutines = (
        f"{plan.coroutines:,} coroutines that wait {WAIT_SECONDS:g} s, in one child; "
        f"first start to last end, of {plan.rounds} rounds"
    )
    leaks = (
        f"{plan.leaks:,} tasks that leak {LEAK_MEBIBYTES} MiB each, 2 slots; kept: no child is replaced, "
        f"replaced: one that has grown by {GROWTH_MEBIBYTES} MiB"
    )
    tables = (report.table(together, texts={0}), report.table(leaking, texts={0}))
    return f"{coroutines}\n{tables[0]}\n\n{leaks}\n{tables[1]}"


def _of_coroutines(samples: list[dict[str, Any]], database: str) -> list[str]:
    mine = [sample for sample in samples if sample["database"] == database]
    seconds = [sample["seconds"] for sample in mine]
    spread = [f"{value:.2f}" for value in (median(seconds), min(seconds), max(seconds))]
    return [*spread, str(max(sample["processes"] for sample in mine))]


def _of_leaks(samples: list[dict[str, Any]], database: str, seconds: float) -> list[str]:
    mine = [one for one in samples if (one["database"], one["seconds"]) == (database, seconds)]
    rates = {kind: [one[kind]["per_second"] for one in mine] for kind in ("kept", "replaced")}
    ratios = [replaced / kept for kept, replaced in zip(rates["kept"], rates["replaced"], strict=True)]
    most = (("replaced", "processes"), ("replaced", "peak_mib"), ("kept", "peak_mib"))
    return [
        *(f"{median(values):,.0f}" for values in rates.values()),
        *(f"{value:.2f}" for value in (median(ratios), min(ratios), max(ratios))),
        *(f"{max(one[kind][what] for one in mine):,.0f}" for kind, what in most),
    ]
