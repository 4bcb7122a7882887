"""What is measured, how often, in which order; it fails only if a task was lost or ran more than once."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import children, chords, claims, machine, report, wakes
from bench.measure import Amounts, measure
from bench.server import Postgres, PostgresCluster, Server, Sqlite
from bench.site import BenchError, Mode, new_site

MODES = (Mode("pool", 10), Mode("pool", 2), Mode("fork", 2), Mode("process", 2))
RELEASE = machine.ROOT / "target" / "release" / "reproq"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it, and how often."""

    repetitions: int
    amounts: dict[str, Amounts]
    """By executor, for one repetition."""
    seconds: int
    """After the first repetition, another begins only if it will be over by then."""


FULL = Plan(
    3, {"pool": Amounts(10_000, 100), "fork": Amounts(1_500, 50), "process": Amounts(60, 7)}, seconds=400
)
QUICK = Plan(1, {"pool": Amounts(2_000, 40), "fork": Amounts(300, 10), "process": Amounts(8, 4)}, seconds=60)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Reproq on this machine. Each measurement's module says more.",
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=list(_MEASUREMENTS),
        default="drain",
        help="drain: real tasks, the default; claims: whatever else waits; enqueues: NOTIFY on and off; "
        "starts: on idle workers, with and without notifications; children: coroutines that share one, and "
        "what replacing those that leak costs; chords: what it costs to belong to a workflow",
    )
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--database", choices=["postgres", "sqlite"], help="claims: only on this one")
    parser.add_argument("--only", default="", metavar="TEXT", help="claims: cases with this in their names")
    options = parser.parse_args(arguments)
    try:
        text, samples, sound = _MEASUREMENTS[options.what](options)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(text)
    if options.json:
        options.json.write_text(json.dumps(samples, indent=1) + "\n")
    return 0 if sound else 1


def _drain(options: argparse.Namespace) -> tuple[str, Any, bool]:
    os.environ["REPROQ_WORKER_BIN"] = str(_binary())
    outcome = run(QUICK if options.quick else FULL)
    return report.as_text(outcome), report.as_json(outcome), outcome.is_sound


def _claims(options: argparse.Namespace) -> tuple[str, Any, bool]:
    names = [options.database] if options.database else ["postgres", "sqlite"]
    found = claims.run(claims.QUICK if options.quick else claims.FULL, names, options.only)
    return claims.as_text(found), claims.as_json(found), True


def _enqueues(options: argparse.Namespace) -> tuple[str, Any, bool]:
    os.environ["REPROQ_WORKER_BIN"] = str(_binary())
    return wakes.enqueues(wakes.QUICK if options.quick else wakes.FULL)


def _starts(options: argparse.Namespace) -> tuple[str, Any, bool]:
    os.environ["REPROQ_WORKER_BIN"] = str(_binary())
    return wakes.starts(wakes.QUICK if options.quick else wakes.FULL)


def _children(options: argparse.Namespace) -> tuple[str, Any, bool]:
    os.environ["REPROQ_WORKER_BIN"] = str(_binary())
    return children.run(children.QUICK if options.quick else children.FULL)


def _chords(options: argparse.Namespace) -> tuple[str, Any, bool]:
    os.environ["REPROQ_WORKER_BIN"] = str(_binary())
    return chords.run(chords.QUICK if options.quick else chords.FULL)


_MEASUREMENTS: dict[str, Callable[[argparse.Namespace], tuple[str, Any, bool]]] = {
    "drain": _drain,
    "claims": _claims,
    "enqueues": _enqueues,
    "starts": _starts,
    "children": _children,
    "chords": _chords,
}
"""What is printed, what is written as JSON, and whether nothing was lost."""


def run(plan: Plan) -> report.Outcome:
    """Everything, interleaved: what disturbs the machine for a while disturbs all in part."""
    began, load, cpu = time.monotonic(), machine.load_average(), machine.MachineCpu.now()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-")))
        postgres = Postgres(stack.enter_context(PostgresCluster(durable=True)))
        outcome = report.Outcome(
            machine.description() | {"postgresql": postgres.version()}, _plan_in_words(plan)
        )
        servers: tuple[Server, ...] = (Sqlite(folder), postgres)
        longest = 0.0
        for repetition in range(plan.repetitions):
            start = time.monotonic()
            if repetition and start - began + longest > plan.seconds:
                outcome.notes.append(
                    f"{repetition} of {plan.repetitions} repetitions: the time of {plan.seconds} s was up"
                )
                break
            for mode in MODES:
                for server in servers:
                    _once(plan, mode, server, outcome)
            longest = max(longest, time.monotonic() - start)
        seconds = time.monotonic() - began
        spent, times = machine.MachineCpu.now(), os.times()
        ours = sum(times[:4]) + postgres.cpu_seconds()
    share = 100 / (seconds * (os.cpu_count() or 1))
    outcome.conditions = {
        "took_seconds": round(seconds),
        "load_average_before": _load(load),
        "load_average_after": _load(machine.load_average()),
        "cpu_of_others": f"{max(0.0, spent.busy - cpu.busy - ours) * share:.0f}% of the machine",
        "cpu_stolen": f"{(spent.steal - cpu.steal) * share:.1f}% of the machine",
    }
    return outcome


def _once(plan: Plan, mode: Mode, server: Server, outcome: report.Outcome) -> None:
    amounts = plan.amounts[mode.executor]
    print(
        f"{mode.executor} with {mode.concurrency} on {server.name} ...", end=" ", file=sys.stderr, flush=True
    )
    with (
        tempfile.TemporaryDirectory(prefix="reproq-bench-site-") as folder,
        new_site(server, mode, Path(folder)) as site,
    ):
        sample = measure(site, amounts)
    key = report.Key(mode.executor, mode.concurrency, server.name)
    outcome.samples.setdefault(key, []).append(sample)
    print(f"{report.rates(sample)['drain_per_second']:,.1f} tasks/s", file=sys.stderr)


def _plan_in_words(plan: Plan) -> dict[str, str]:
    backlog = ", ".join(f"{executor} {amounts.drained:,}" for executor, amounts in plan.amounts.items())
    return {
        "backlog_of_no_ops": f"{backlog}; up to {plan.repetitions} repetitions, interleaved",
        "worker": os.environ["REPROQ_WORKER_BIN"],
        "durability": "PostgreSQL fsync and synchronous_commit on, SQLite WAL with synchronous=FULL",
    }


def _load(load: tuple[float, float, float]) -> str:
    return " ".join(f"{value:.2f}" for value in load)


def _binary() -> Path:
    """The one that REPROQ_WORKER_BIN names, or this checkout's release build."""
    if given := os.environ.get("REPROQ_WORKER_BIN"):
        return Path(given).absolute()
    subprocess.run(
        ["cargo", "build", "--quiet", "--release", "--package", "reproq"], cwd=machine.ROOT, check=True
    )
    return RELEASE
