"""One seed on one site: enqueues the plan while workers drain it, and kills some of them if it is to."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from django.db import connections, transaction
from django.db.models import Count, Sum
from django.tasks import task_backends
from harness import ALIAS, OPEN, ROOT, Site, Worker
from tests.hammer import tasks, witness
from tests.hammer.plan import Blow, Plan, Rate

from reproq_django.definition import ReproqTask
from reproq_django.models import RateLimit

#: Runs enqueued at once; the next ones follow when fewer than so many are open.
CHUNK, BACKLOG = 250, 2000
#: Between two looks at how far it has come.
LOOK_SECONDS = 0.25
#: Nothing has been claimed for so long: it never will be.
STUCK_SECONDS = 60
#: The shortest lease that the worker accepts, so that what a killed one leaves behind need not be waited for.
SHORT_LEASE = ("--lease-seconds", "5", "--heartbeat-seconds", "1", "--reclaim-interval-seconds", "1")


@dataclass(frozen=True, slots=True)
class Force:
    """What drains the plan."""

    workers: int
    slots: int
    kills: int = 0


@dataclass(slots=True)
class Course:
    """What happened, as far as the tasks cannot know it. Times in nanoseconds of CLOCK_MONOTONIC."""

    statements: list[tuple[int, int, dict[str, int]]] = field(default_factory=list)
    """Before and after each enqueue, with the limits that it stated by concurrency key."""
    deaths: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    """When processes of killed workers were seen to be dead, by pid."""
    stuck: bool = False
    enqueued_seconds: float = 0.0
    seconds: float = 0.0
    """From the first worker's start to the last run's end."""


@dataclass(slots=True)
class Evidence:
    """Everything that the verdict is about."""

    plan: Plan
    course: Course
    attempts: list[witness.Attempt]
    runs: dict[int, dict[str, Any]]
    """The rows by the number of their run in the plan."""
    is_postgres: bool
    killed: bool


def hammer(site: Site, plan: Plan, force: Force, *, sabotage: bool = False) -> Evidence:
    """Enqueue and drain ``plan``. With ``sabotage``, the workers do not get to know the keys; the witness
    does."""
    course = Course()
    _set_operator_rates(plan)
    chunks = plan.chunks(min(CHUNK, max(1, plan.claims // 12)))
    with ExitStack() as stack:
        workers = [_start(site, force, stack) for _ in range(force.workers)]
        began = time.monotonic()
        chance = random.Random(f"kills {plan.seed}")
        due_kills = [plan.claims * (number + 1) // (force.kills + 1) for number in range(force.kills)]
        claimed, claimed_at, more = 0, began, True
        while True:
            open_runs, claims = _progress(site)
            if claims != claimed:
                claimed, claimed_at = claims, time.monotonic()
            while more and open_runs < BACKLOG:
                chunk = next(chunks, None)
                more = chunk is not None
                open_runs += _enqueue(chunk, plan, course, sabotage) if chunk else 0
            if due_kills and claimed >= due_kills[0]:
                due_kills.pop(0)
                _kill(workers.pop(chance.randrange(len(workers))), course)
                workers.append(_start(site, force, stack))
            course.stuck = time.monotonic() - claimed_at > STUCK_SECONDS
            if course.stuck or not (more or open_runs):
                break
            time.sleep(LOOK_SECONDS)
        course.seconds = time.monotonic() - began
    attempts = witness.read(site.witness, course.deaths)
    return Evidence(plan, course, attempts, _rows(site), site.is_postgres, force.kills > 0)


def _start(site: Site, force: Force, stack: ExitStack) -> Worker:
    path = ":".join(str(ROOT / part) for part in ("src", "tests", "tests/e2e", ""))
    flags = [
        "--concurrency",
        str(force.slots),
        "--queues",
        "default,mail",
        *(SHORT_LEASE if force.kills else ()),
    ]
    environment = {"PYTHONPATH": path, "ALLOWED_TASK_MODULES": "tests.hammer.", "REPROQ_LOG": "info"}
    return stack.enter_context(site.worker(*flags, **environment))


def _kill(worker: Worker, course: Course) -> None:
    """Another worker may go on as soon as the last process is dead, so each death is told at once."""
    family, poll = {}, select.poll()
    for pid in worker.family():
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            family[descriptor] = pid
            poll.register(descriptor, select.POLLIN)
    worker.signal(signal.SIGKILL)
    deadline = time.monotonic() + 4
    while family:
        assert time.monotonic() < deadline, "a killed worker's processes die before its leases lapse"
        for descriptor, _ in poll.poll(100):
            course.deaths[family.pop(descriptor)].append(time.monotonic_ns())
            poll.unregister(descriptor)
            os.close(descriptor)
    worker.exit_code()


def _set_operator_rates(plan: Plan) -> None:
    for name, rate in plan.rates.items():
        if not name.startswith("key:"):
            path = f"task:{tasks.paced.module_path}" if name == "task:paced" else name
            RateLimit.objects.using(ALIAS).create(
                key=path, tokens_per_second=rate.per_second, burst_size=rate.burst, current_tokens=rate.burst
            )


def _enqueue(chunk: list[Blow], plan: Plan, course: Course, sabotage: bool) -> int:
    items = [_item(blow, plan.rates.get(f"key:{blow.rate}")) for blow in chunk]
    stated = {blow.concurrency: blow.limit for blow in chunk if blow.concurrency}
    before = time.monotonic_ns()
    with transaction.atomic(using=ALIAS):
        results = task_backends["default"].bulk_enqueue(items)
        if sabotage:
            _hide_keys([result.result_id for result in results])
    after = time.monotonic_ns()
    course.statements.append((before, after, stated))
    course.enqueued_seconds += (after - before) / 1e9
    return len(chunk)


def _item(blow: Blow, rate: Rate | None) -> tuple[ReproqTask, tuple[Any, ...], dict[str, Any]]:
    options: dict[str, Any] = {"lock_key": blow.lock, "rate_key": blow.rate}
    if blow.concurrency:
        options |= {"concurrency_key": blow.concurrency, "concurrency_limit": blow.limit}
    task = _task(blow.task, blow.queue, blow.max_attempts, rate)
    return task, (blow.number, blow.keys, blow.work_us, blow.fails, blow.exits), options


@cache
def _task(name: str, queue: str, max_attempts: int, rate: Rate | None) -> ReproqTask:
    paced = {"rate_limit": rate.per_second, "rate_burst": rate.burst} if rate else {}
    return getattr(tasks, name).using(queue_name=queue, max_attempts=max_attempts, **paced)


def _hide_keys(ids: list[int]) -> None:
    """What a store that forgets keys would do."""
    names = ["lock_key", "concurrency_key", "rate_key"]
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(
            f"UPDATE task_runs SET {', '.join(f'{name} = NULL' for name in names)} "
            f"WHERE result_id BETWEEN {min(ids)} AND {max(ids)}"
        )
        cursor.execute("UPDATE rate_limits SET tokens_per_second = 0")


def _progress(site: Site) -> tuple[int, int]:
    """Runs that are open, and claims so far."""
    sums = site.runs().aggregate(claims=Sum("epoch"))
    opened = site.runs(status__in=OPEN).aggregate(count=Count("pk"))
    return opened["count"], sums["claims"] or 0


def _rows(site: Site) -> dict[int, dict[str, Any]]:
    columns = ("pk", "status", "epoch", "attempts", "slot_no", "leased_by", "last_attempted_at")
    rows = site.runs().values("spec_json", *columns)
    return {row.pop("spec_json")["args"][0]: row for row in rows.iterator()}
