"""The command line: which peers, how often, how much, and where it is written."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from bench import machine
from bench.peers import brokers, catalogue, environment, output, turn
from bench.peers.peer import Peer
from bench.peers.turn import Amounts
from bench.site import BenchError

RELEASE = machine.ROOT / "target" / "release" / "reproq"
DOCS = machine.ROOT / "docs" / "benchmarks"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it, and how often."""

    name: str
    repetitions: int
    amounts: Amounts
    ours: tuple[str, ...]
    """Of our modes and databases; all of them when empty."""
    others: tuple[str, ...]
    seconds: int
    """After the first repetition, another begins only if it will be over by then."""


FULL = Plan(
    "full",
    3,
    Amounts(
        enqueue_seconds=2, clients=8, bulk=20_000, drain_seconds=3, singles=100, single_seconds=20,
        load_seconds=5, idle_seconds=5,
    ),
    (),
    (),
    seconds=9_000,
)  # fmt: skip
QUICK = Plan(
    "quick",
    2,
    Amounts(
        enqueue_seconds=0.5, clients=4, bulk=5_000, drain_seconds=1, singles=25, single_seconds=15,
        load_seconds=1.5, idle_seconds=1,
    ),
    ("reproq-pool-postgres", "reproq-pool-sqlite", "reproq-fork-postgres"),
    catalogue.QUICK,
    seconds=270,
)  # fmt: skip
SMOKE = Plan(
    "smoke",
    1,
    Amounts(
        enqueue_seconds=0.2, clients=2, bulk=50, drain_seconds=1, singles=3, single_seconds=15,
        load_seconds=0.5, idle_seconds=0.5, most=50,
    ),
    (),
    (),
    seconds=3_600,
)  # fmt: skip
PLANS = {plan.name: plan for plan in (FULL, QUICK, SMOKE)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 when something did not work, or ours lost or repeated a task."""
    options = _parser().parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        if options.readme:
            output.write_readme(json.loads((DOCS / "peers.json").read_text()), machine.ROOT / "README.md")
            return 0
        plan = PLANS[options.plan]
        os.environ["REPROQ_WORKER_BIN"] = str(_binary())
        if options.no_peers:
            found = _earlier(options.json)
        else:
            peers = _chosen(plan, options.only)
            environment.prepare(peers)
            found = run(plan, peers, options.repetitions or plan.repetitions, options.json)
        if options.floors or not options.no_peers:
            from bench.peers import floors

            found["floors"] = floors.run(floors.PLANS[plan.name], _names_measured(found))
            output.write_json(found, options.json)
        if options.growth:
            from bench.peers import backlog, growth

            amounts = growth.PLANS[plan.name]
            found["growth"] = growth.run(amounts)
            output.write_json(found, options.json)
            names = _names_measured(found)
            peers = [peer for peer in catalogue.PEERS if peer.name in names]
            found["backlog"] = backlog.run(peers, amounts.ready)
        text = output.as_text(found)
        print(text)
        output.write_json(found, options.json)
        if options.docs:
            output.write_docs(found, text, DOCS)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if output.is_sound(found) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    parser.add_argument("--plan", choices=list(PLANS), default="full", help="smoke: does everything work?")
    parser.add_argument("--only", default="", metavar="NAMES", help="these peers, separated by commas")
    parser.add_argument("--repetitions", type=int, metavar="N")
    parser.add_argument("--growth", action="store_true", help="also how ours does as things grow")
    parser.add_argument("--no-peers", action="store_true", help="go on with what FILE has of an earlier run")
    parser.add_argument("--floors", action="store_true", help="also the floors, which a run has anyway")
    parser.add_argument("--docs", action="store_true", help="write table and plots below docs/benchmarks/")
    parser.add_argument("--readme", action="store_true", help="only write the README's table, from the docs")
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        default=machine.ROOT / ".cache" / "peers.json",
        help="every sample",
    )
    return parser


def _names_measured(found: Mapping[str, Any]) -> list[str]:
    return [name for name, samples in found["samples"].items() if samples]


def _earlier(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        raise BenchError(f"--no-peers goes on with an earlier run, and {file} is not there") from None


def run(plan: Plan, peers: Sequence[Peer], repetitions: int, file: Path) -> dict[str, Any]:
    """Everything, interleaved: what disturbs the machine for a while disturbs all in part.

    What has been found is in ``file`` after each turn, so that a run that is stopped was not for nothing.
    """
    began = time.monotonic()
    found: dict[str, Any] = {
        "plan": plan.name,
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine.description(),
        "amounts": asdict(plan.amounts),
        "absent": catalogue.ABSENT,
        "peers": [_about(peer) for peer in peers],
        "samples": {peer.name: [] for peer in peers},
        "failures": {},
    }
    with ExitStack() as stack:
        places = brokers.Places(stack)
        found["machine"]["postgresql"] = places.postgres.version()
        longest = 0.0
        for repetition in range(repetitions):
            start = time.monotonic()
            if repetition and start - began + longest > plan.seconds:
                _say(f"{repetition} of {repetitions} repetitions: the time of {plan.seconds:,} s is up")
                break
            for peer in in_turn(peers, repetition):
                _once(plan, peer, places, found, repetition)
                found["seconds"] = round(time.monotonic() - began)
                output.write_json(found, file)
            longest = max(longest, time.monotonic() - start)
    return found


def in_turn(peers: Sequence[Peer], repetition: int) -> list[Peer]:
    """The order of a repetition: who shares a target's ratio is close together, and every second time all go
    backwards.

    A machine's speed drifts. Who is close together has about the same, and who comes first in one repetition
    comes last in the next.
    """
    compared = {name: position for position, name in enumerate(catalogue.COMPARED)}
    ordered = sorted(peers, key=lambda peer: compared.get(peer.name, len(compared)))
    return ordered[::-1] if repetition % 2 else ordered


def _once(plan: Plan, peer: Peer, places: brokers.Places, found: dict[str, Any], repetition: int) -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reproq-bench-") as folder:
        try:
            sample = turn.measure(peer, places, plan.amounts, Path(folder))
        except turn.BROKEN as error:
            # One peer that does not work is a result as well; the others go on.
            found["failures"].setdefault(peer.name, []).append(f"{type(error).__name__}: {error}")
            _say(f"{repetition + 1}  {peer.name:22} FAILED: {str(error)[-1500:]}")
            return
    found["samples"][peer.name].append(asdict(sample))
    said = [f"{sample.figures.get('drain_per_second', 0):10,.1f}/s", f"{sample.lost} lost"]
    said += [f"{sample.repeated} repeated", f"{time.monotonic() - began:.0f} s", *sample.notes]
    _say(f"{repetition + 1}  {peer.name:22} {', '.join(said)}")


def _about(peer: Peer) -> dict[str, Any]:
    names = ("name", "title", "stores", "results", "isolation", "released")
    return {name: getattr(peer, name) for name in names} | {"version": environment.version(peer)}


def _chosen(plan: Plan, only: str) -> list[Peer]:
    by_name = {peer.name: peer for peer in catalogue.PEERS}
    if only:
        names = only.split(",")
        if unknown := [name for name in names if name not in by_name]:
            raise BenchError(f"unknown peers {unknown}; there are {', '.join(by_name)}")
    elif plan.ours:
        names = [*plan.ours, *plan.others]
    else:
        names = list(by_name)
    return [by_name[name] for name in names]


def _binary() -> Path:
    """The one that REPROQ_WORKER_BIN names, or this checkout's release build."""
    if given := os.environ.get("REPROQ_WORKER_BIN"):
        if not (binary := Path(given).absolute()).exists():
            raise BenchError(
                f"REPROQ_WORKER_BIN is {given}, which is not there; `make bench-peers` builds one"
            )
        return binary
    subprocess.run(
        ["cargo", "build", "--quiet", "--release", "--package", "reproq"], cwd=machine.ROOT, check=True
    )
    return RELEASE


def _leave(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
