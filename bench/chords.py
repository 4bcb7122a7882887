"""What it costs that a run belongs to a workflow: a chord beside as many plain tasks, in turns, on a fresh
database each.

Enqueue: until the call returns. Drain: from the first start to the last end of the members, by their rows;
the callback has its own figure, from the last member's end to its start.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from django.db.models import Max, Min
from django.tasks import default_task_backend

from bench import report, tasks
from bench.measure import LOOK_SECONDS, LOST_SECONDS, OPEN, CpuSplit
from bench.server import Postgres, PostgresCluster, Server, Sqlite
from bench.site import BenchError, Mode, Site, new_site, until
from reproq_django.workflows import chord


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it, and how often."""

    members: int
    rounds: int


FULL = Plan(10_000, 5)
QUICK = Plan(2_000, 1)
#: A member may cost so many times what a plain task does.
ALLOWED = 1.3


def run(plan: Plan) -> tuple[str, Any, bool]:
    """What is printed, what is written as JSON, and whether nothing was lost."""
    samples: list[dict[str, Any]] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-")))
        cluster = stack.enter_context(PostgresCluster(durable=True))
        servers: tuple[Server, ...] = (Sqlite(folder), Postgres(cluster))
        for number in range(plan.rounds):
            for server in servers:
                # In turns, so that none is always the first.
                kinds = ("plain", "chord") if number % 2 else ("chord", "plain")
                samples.extend(_once(server, kind, plan.members) | {"round": number} for kind in kinds)
    return _as_text(plan, samples), samples, True


def _once(server: Server, kind: str, count: int) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="reproq-bench-site-") as folder,
        new_site(server, Mode("pool", 2), Path(folder)) as site,
    ):
        began = time.perf_counter()
        if kind == "plain":
            default_task_backend.bulk_enqueue([(tasks.noop, (number,), {}) for number in range(count)])
            callback = None
        else:
            calls = [(tasks.noop, (number,)) for number in range(count)]
            _, last = chord(*calls, callback=(tasks.noop, (-1,))).enqueue()
            callback = last.result_id
        enqueued = time.perf_counter() - began
        with site.worker() as worker:
            cpu = CpuSplit.of(server, worker, lambda: _drain(site))
            found = _times(site, count, callback)
    spent = cpu.worker + cpu.children + cpu.database
    return {"database": server.name, "kind": kind, "enqueue": enqueued, "cpu": spent, **found}


def _drain(site: Site) -> None:
    until(lambda: not site.runs(status__in=OPEN).exists(), seconds=LOST_SECONDS, pause=LOOK_SECONDS)


def _times(site: Site, count: int, callback: int | None) -> dict[str, float]:
    members = site.runs(status="SUCCESSFUL").exclude(pk=callback)
    if members.count() != count:
        raise BenchError(f"{count - members.count()} of {count} runs did not succeed")
    times = members.aggregate(first=Min("last_attempted_at"), last=Max("finished_at"))
    found = {"drain": (times["last"] - times["first"]).total_seconds()}
    if callback is not None:
        started = site.runs().get(pk=callback).started_at
        found["callback"] = (started - times["last"]).total_seconds()
    return found


def _as_text(plan: Plan, samples: list[dict[str, Any]]) -> str:
    rows: list[tuple[str, ...]] = [
        ("database", "enqueue plain s", "chord s", "ratio", "drain plain us", "chord us", "ratio", "min",
         "max", "cpu plain us", "chord us", "ratio", "callback after ms")
    ]  # fmt: skip
    verdicts = []
    for name in ("sqlite", "postgres"):
        mine = [one for one in samples if one["database"] == name]
        plain = sorted((one for one in mine if one["kind"] == "plain"), key=lambda one: one["round"])
        chords = sorted((one for one in mine if one["kind"] == "chord"), key=lambda one: one["round"])
        ratios = [one["drain"] / other["drain"] for one, other in zip(chords, plain, strict=True)]
        enqueues = [median(one["enqueue"] for one in some) for some in (plain, chords)]
        each = [median(one["drain"] for one in some) / plan.members * 1e6 for some in (plain, chords)]
        spent = [median(one["cpu"] for one in some) / plan.members * 1e6 for some in (plain, chords)]
        after = median(one["callback"] for one in chords) * 1000
        rows.append(
            (name, f"{enqueues[0]:.2f}", f"{enqueues[1]:.2f}", f"{enqueues[1] / enqueues[0]:.2f}",
             f"{each[0]:.1f}", f"{each[1]:.1f}", f"{median(ratios):.2f}", f"{min(ratios):.2f}",
             f"{max(ratios):.2f}", f"{spent[0]:.1f}", f"{spent[1]:.1f}", f"{spent[1] / spent[0]:.2f}",
             f"{after:.1f}")
        )  # fmt: skip
        met = "met" if median(ratios) < ALLOWED else "NOT met"
        verdicts.append(
            f"{name}: a member costs {median(ratios):.2f} x a plain task (below {ALLOWED}: {met})"
        )
    head = (
        f"{plan.members:,} members of a chord beside {plan.members:,} plain tasks, pool, 2 slots; medians of "
        f"{plan.rounds} rounds; us per member, and processor time of the worker, its children and the server"
    )
    return "\n".join([head, report.table(rows, texts={0}), *verdicts])
