"""Enqueues a plan on one site while a worker is killed every two seconds."""

from __future__ import annotations

import json
import random
import signal
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice

from django.db.models import Count
from harness import ALIAS, OPEN, ROOT, Site, Worker
from tests.workflows.plan import Enqueued, shapes

from reproq_django.models import WorkflowRun

LOOK_SECONDS = 0.2
#: Nothing has ended for so long: it never will.
STUCK_SECONDS = 60
#: Open runs beyond which enqueueing waits, and workflows between two looks: a kill must not wait for either.
BACKLOG, CHUNK = 5000, 10
SHORT_LEASE = ("--lease-seconds", "5", "--heartbeat-seconds", "1", "--reclaim-interval-seconds", "1")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much, and how hard."""

    seed: int
    chords: int = 1000
    width: int = 50
    chains: int = 200
    length: int = 20
    kill_every: float = 2.0
    """Seconds."""


@dataclass(slots=True)
class Course:
    """What was done."""

    workflows: list[Enqueued] = field(default_factory=list)
    kills: int = 0
    stuck: bool = False
    seconds: float = 0.0
    begins: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    ends: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Moments of CLOCK_MONOTONIC, nanoseconds, by run: what its tasks have witnessed."""


def drive(site: Site, plan: Plan) -> Course:
    """Run ``plan`` to its end."""
    course = Course()
    waiting = iter(shapes(plan.seed, plan.chords, plan.width, plan.chains, plan.length))
    chance = random.Random(plan.seed)
    workers, slots = (3, 4) if site.is_postgres else (1, 6)
    living = [_start(site, slots) for _ in range(workers)]
    try:
        began = kill_at = ended_at = time.monotonic()
        more, ended = True, -1
        while True:
            opened, over = _progress(site)
            if over != ended:
                ended, ended_at = over, time.monotonic()
            if more and opened < BACKLOG:
                chunk = list(islice(waiting, CHUNK))
                more = bool(chunk)
                course.workflows += [shape.enqueue() for shape in chunk]
            if time.monotonic() - kill_at > plan.kill_every:
                _kill(living.pop(chance.randrange(len(living))))
                living.append(_start(site, slots))
                course.kills += 1
                kill_at += plan.kill_every
            course.stuck = time.monotonic() - ended_at > STUCK_SECONDS
            if course.stuck or not (more or opened or _workflows_open()):
                break
            if not more or opened >= BACKLOG:
                time.sleep(LOOK_SECONDS)
        course.seconds = time.monotonic() - began
    finally:
        for worker in living:
            worker.end()
    _read_witness(site, course)
    return course


def _start(site: Site, slots: int) -> Worker:
    """Not waited for: the next kill comes when it is due, whether its victim has begun to work or not."""
    path = ":".join(str(ROOT / part) for part in ("src", "tests", "tests/e2e", ""))
    environment = {"PYTHONPATH": path, "ALLOWED_TASK_MODULES": "tests.workflows.", "REPROQ_LOG": "info"}
    worker = Worker(site, ("--concurrency", str(slots), *SHORT_LEASE), environment)
    site.workers.append(worker)
    return worker


def _kill(worker: Worker) -> None:
    worker.signal(signal.SIGKILL)
    worker.exit_code()


def _progress(site: Site) -> tuple[int, int]:
    """Runs that are open, and that have ended."""
    counts = dict(site.runs().values_list("status").annotate(Count("pk")))
    opened = sum(count for status, count in counts.items() if status in OPEN)
    return opened, sum(counts.values()) - opened


def _workflows_open() -> bool:
    return WorkflowRun.objects.using(ALIAS).filter(status="RUNNING").exists()


def _read_witness(site: Site, course: Course) -> None:
    for path in site.witness.parent.glob(f"{site.witness.name}.*"):
        for line in path.read_text().splitlines():
            kind, run, _, moment = json.loads(line)
            (course.begins if kind == "begin" else course.ends)[run].append(moment)
