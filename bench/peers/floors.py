"""What cannot be undercut on this machine, measured beside what was: bare processes (``bare``) and parts of
ours with nothing around them (``alone``). A target that is not met is told with its floor, see ``explained``.

Each is measured once, in the run that measures the peers, with nothing else at work.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.db import Error as DatabaseError

from bench import claims
from bench.peers import alone, brokers, catalogue
from bench.peers.targets import FORK, POOL, POOL_SQLITE
from bench.peers.turn import BROKEN
from bench.peers.worker import Place
from bench.site import BenchError

#: A bare process that takes longer waits for something that does not come.
BARE_SECONDS = 90
#: And one that is told to end, for those that it has forked.
ENDING_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it."""

    starts: int
    forks: int
    """Of each of two processes."""
    runs: int
    """Inserted at once, claimed and ended, worked on by a child."""
    rounds: int
    """Of inserting them."""


PLANS = {
    "full": Plan(starts=100, forks=400, runs=20_000, rounds=3),
    "quick": Plan(starts=40, forks=100, runs=10_000, rounds=2),
    "smoke": Plan(starts=3, forks=10, runs=2_000, rounds=1),
}


def run(plan: Plan, names: Collection[str]) -> dict[str, Any]:
    """Of our peers among ``names``; by peer, then by what it is the floor of. What does not work here says so
    under ``failure``.
    """
    began = time.monotonic()
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    found: dict[str, Any] = {"plan": asdict(plan), "began": at, "by_peer": {}}
    wanted = [name for name in MEASURES if name in names]
    if not wanted:
        return found
    with ExitStack() as stack:
        places = brokers.Places(stack)
        stack.callback(places.drop)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-")))
        for name in wanted:
            peer = next(peer for peer in catalogue.PEERS if peer.name == name)
            place = Place(peer, places, None, folder / name)
            of_peer = found["by_peer"].setdefault(name, {})
            for what, measure in MEASURES[name]:
                try:
                    of_peer |= measure(plan, place)
                except (*BROKEN, DatabaseError) as error:
                    of_peer[what] = {"failure": f"{type(error).__name__}: {error}"[:1500]}
                    print(f"floor of {name}, {what}: FAILED: {error}", file=sys.stderr, flush=True)
    found["seconds"] = round(time.monotonic() - began, 1)
    print(f"floors: {found['seconds']:.0f} s", file=sys.stderr, flush=True)
    return found


def _start(plan: Plan, place: Place) -> dict[str, Any]:
    address = place.database if place.peer.on_sqlite else str(place.site["url"])
    times = _answers(place, 1, "starts", place.peer.stores, address, str(plan.starts))[0]
    names = ("committed_ms", "heard_ms", "begun_ms")
    return {"start": {name: [one[index] / 1e6 for one in times] for index, name in enumerate(names)}}


def _fork(plan: Plan, place: Place) -> dict[str, Any]:
    """By two such processes, as two slots would."""
    both = _answers(place, 2, "forks", place.peer.site_module, str(plan.forks))
    count = sum(one["forks"] for one in both)
    us = sum(one["cpu_seconds"] for one in both) / count * 1e6
    return {"fork": {"us": us, "forks": count, "per_second": sum(o["forks"] / o["seconds"] for o in both)}}


def _bulk(plan: Plan, place: Place) -> dict[str, Any]:
    with alone.site_of(place.places) as site:
        statements = alone.enqueued(site, place.places, plan.runs)
        return {"bulk": alone.rows_at_once(site, place.places, statements, plan.rounds)}


def _drain(plan: Plan, place: Place) -> dict[str, Any]:
    binary = claims.rounds_binary()
    with alone.site_of(place.places) as site:
        alone.enqueued(site, place.places, plan.runs + alone.WARM * alone.BATCH)
        child = alone.runs_in_a_child(place, site, plan.runs)
        server = alone.claims_and_endings(binary, site, place.places, plan.runs)
    return {"drain": {"server": server, "child": child}}


type Measure = Callable[[Plan, Place], dict[str, Any]]
MEASURES: dict[str, tuple[tuple[str, Measure], ...]] = {
    POOL: (("start", _start), ("bulk", _bulk), ("drain", _drain)),
    POOL_SQLITE: (("start", _start),),
    FORK: (("fork", _fork),),
}
"""By peer. What keeps nothing busy afterwards comes first."""


def _answers(place: Place, processes: int, *arguments: str) -> list[Any]:
    """Of so many processes of ``bare`` at the same time."""
    log = place.folder / "bare.log"
    command = [str(place.peer.python), "-m", "bench.peers.bare", *arguments]
    bare: list[subprocess.Popen[bytes]] = []
    try:
        with log.open("ab") as said:
            for _ in range(processes):
                one = subprocess.Popen(
                    command,
                    env=place.environment,
                    cwd=place.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=said,
                    start_new_session=True,
                )
                bare.append(one)
        answers = [process.communicate(timeout=BARE_SECONDS)[0] for process in bare]
    finally:
        # What one has forked ends before it.
        for process in bare:
            process.terminate()
        for process in bare:
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_SECONDS)
            # Whatever is left of it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    if any(process.returncode for process in bare):
        raise BenchError(f"a bare process has ended:\n{log.read_text(errors='replace')[-1200:]}")
    return [json.loads(answer) for answer in answers]
