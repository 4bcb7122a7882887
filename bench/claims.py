"""``python -m bench claims``: what a claim and an ending cost, whatever else waits.

Each case has a database of its own. A claimer (``crates/reproq-store/examples/rounds.rs``: the real store, in
the dispatcher's rhythm) makes some rounds in one after another, again and again, so that what disturbs the
machine disturbs all alike. A round claims a batch and ends it; what it has used up is enqueued again before
the claimer comes back.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from bench import machine
from bench.backlogs import QUEUES, Case, cases
from bench.report import percentile, table
from bench.server import Postgres, PostgresCluster, Server, Sqlite
from bench.site import BenchError, Mode, new_site

BATCH = 10
#: No worker is started here.
MODE = Mode("pool", BATCH)
#: A blocked backlog that keeps free work waiting for longer has stopped it.
SETTLE_ROUNDS = 5_000
ALLOWED = 1.5
ALLOWED_RATE = 0.8


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it."""

    large: int
    huge: int
    turns: int
    rounds: int
    """In one turn."""


FULL = Plan(100_000, 1_000_000, turns=100, rounds=20)
QUICK = Plan(20_000, 50_000, turns=15, rounds=20)


@dataclass(slots=True)
class Round:
    """Milliseconds."""

    claim: float
    glance: float
    """0 in the rounds without."""
    finish: float

    @property
    def both(self) -> float:
        return self.claim + self.finish


@dataclass(slots=True)
class Found:
    """What one case on one database has shown."""

    case: Case
    rounds: list[Round] = field(default_factory=list)
    fill_seconds: float = 0.0
    settle_ms: float = 0.0
    """Until the first full batch of free runs came."""
    settle_rounds: int = 0

    def p(self, percent: float, part: str = "both") -> float:
        return percentile([getattr(one, part) for one in self.rounds], percent)

    @property
    def runs_per_second(self) -> float:
        spent = sum(one.both + one.glance for one in self.rounds)
        return len(self.rounds) * BATCH / spent * 1000


class Claimer:
    """The process that makes the rounds, on all databases."""

    def __init__(self, binary: Path, addresses: Sequence[str], batch: int = BATCH) -> None:
        self._process = subprocess.Popen(
            [str(binary), str(batch), ",".join(QUEUES), *addresses],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its input is its end.
        self._process.communicate()

    def rounds(self, number: int, count: int) -> list[tuple[Round, int]]:
        """The rounds, each with the number of runs that it claimed."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{number} {count}\n")
        self._process.stdin.flush()
        if not (line := self._process.stdout.readline()):
            raise BenchError("the claimer has ended, see above")
        return [
            (Round(claim / 1000, (glance or 0) / 1000, finish / 1000), runs)
            for claim, glance, finish, runs in json.loads(line)
        ]


def run(plan: Plan, names: Sequence[str], only: str) -> dict[str, list[Found]]:
    """By database. ``only``: a part of cases' names; what they are compared with is always there."""
    binary = rounds_binary()
    with ExitStack() as stack:
        servers: list[Server] = []
        if "postgres" in names:
            servers.append(Postgres(stack.enter_context(PostgresCluster(durable=True))))
        if "sqlite" in names:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-"))
            servers.append(Sqlite(Path(folder)))
        return {server.name: _on(server, plan, binary, only) for server in servers}


def _on(server: Server, plan: Plan, binary: Path, only: str) -> list[Found]:
    everything = cases(plan.large, plan.huge)
    wanted = {case.name for case in everything if only in case.name}
    wanted |= {case.against for case in everything if case.name in wanted}
    found = [Found(case) for case in everything if case.name in wanted]
    with ExitStack() as stack:
        sites = []
        for number, one in enumerate(found):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-site-"))
            site = stack.enter_context(new_site(server, MODE, Path(folder), f"case_{number}"))
            began = time.perf_counter()
            one.case.fill(site.connection)
            one.fill_seconds = time.perf_counter() - began
            _say(f"{server.name}: {one.case.name}: filled in {one.fill_seconds:.0f} s")
            sites.append(site)
        claimer = stack.enter_context(Claimer(binary, [site.url for site in sites]))
        for number, one in enumerate(found):
            _settle(claimer, number, one)
            one.case.refill(sites[number].connection, BATCH)
        for turn in range(plan.turns):
            for number, one in enumerate(found):
                one.case.refill(sites[number].connection, plan.rounds * BATCH)
                for made, runs in claimer.rounds(number, plan.rounds):
                    if runs != BATCH:
                        raise BenchError(f"{one.case.name}: a round claimed {runs} runs, not {BATCH}")
                    one.rounds.append(made)
            if turn % 10 == 9:
                _say(f"{server.name}: {turn + 1} of {plan.turns} turns")
    return found


def _settle(claimer: Claimer, number: int, found: Found) -> None:
    """Rounds until a batch of free runs has come: a worker that starts here would see the same."""
    for _ in range(SETTLE_ROUNDS):
        [(made, runs)] = claimer.rounds(number, 1)
        found.settle_rounds += 1
        found.settle_ms += made.both + made.glance
        if runs == BATCH:
            return
    raise BenchError(f"{found.case.name}: no free runs in {SETTLE_ROUNDS} rounds")


def as_text(outcome: dict[str, list[Found]]) -> str:
    parts = []
    for name, found in outcome.items():
        cases_by_name = {one.case.name: one for one in found}
        rows = [
            (
                "waiting", "claim+finish p50", "p99", "p50 x", "p99 x", "claim p50", "p99",
                "finish p50", "p99", "look p50", "runs/s", "rate x", "first batch ms",
            )
        ]  # fmt: skip
        late = []
        for one in found:
            base = cases_by_name[one.case.against]
            middle, tail = one.p(50) / base.p(50), one.p(99) / base.p(99)
            rate = one.runs_per_second / base.runs_per_second
            looks = [made.glance for made in one.rounds if made.glance]
            rows.append(
                (
                    one.case.name, f"{one.p(50):.2f}", f"{one.p(99):.2f}", f"{middle:.2f}", f"{tail:.2f}",
                    f"{one.p(50, 'claim'):.2f}", f"{one.p(99, 'claim'):.2f}",
                    f"{one.p(50, 'finish'):.2f}", f"{one.p(99, 'finish'):.2f}",
                    f"{percentile(looks, 50):.2f}", f"{one.runs_per_second:,.0f}", f"{rate:.2f}",
                    f"{one.settle_ms:,.0f}",
                )
            )  # fmt: skip
            if max(middle, tail) > ALLOWED or rate < ALLOWED_RATE:
                late.append(f"  {one.case.name}: p50 {middle:.2f} x, p99 {tail:.2f} x, rate {rate:.2f} x")
        rounds = len(found[0].rounds)
        what = f"{name}: ms for a batch of {BATCH} in {rounds:,} rounds; rate: of free work"
        parts += [
            f"{what}; x: against 1k, tenants against tenants",
            table(rows, texts={0}),
            f"beyond {ALLOWED} x, or a rate below {ALLOWED_RATE}:" if late else f"all within {ALLOWED} x",
            *late,
            "",
        ]
    return "\n".join(parts)


def as_json(outcome: dict[str, list[Found]]) -> dict[str, Any]:
    return {
        name: [
            {
                "case": one.case.name,
                "against": one.case.against,
                "settle_ms": one.settle_ms,
                "settle_rounds": one.settle_rounds,
                "rounds_ms": [[made.claim, made.glance, made.finish] for made in one.rounds],
            }
            for one in found
        ]
        for name, found in outcome.items()
    }


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def rounds_binary() -> Path:
    """The claimer's, made anew when it is old."""
    build = ["cargo", "build", "--quiet", "--release", "--package", "reproq-store", "--example", "rounds"]
    subprocess.run(build, cwd=machine.ROOT, check=True)
    return machine.ROOT / "target" / "release" / "examples" / "rounds"
