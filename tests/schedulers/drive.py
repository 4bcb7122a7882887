"""Starts schedulers on one site, and kills, stops and continues them at random until the time is up."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connections
from django.utils import timezone
from harness import ALIAS, Site, forget_connection, until
from tools.postgres import PostgresCluster

from reproq_django.models import PeriodicRun, PeriodicTask, TaskRun

#: Between two blows, and how long a stopped scheduler stays so.
PAUSE_SECONDS, STOPPED_SECONDS = (0.2, 1.5), (0.3, 4.0)
#: When the last blow has fallen, the rest has to be caught up within.
QUIET_SECONDS = 60
TASK = "testapp.tasks.noop"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, and what happens to it."""

    seed: int
    schedulers: int = 3
    schedules: int = 200
    seconds: float = 120
    restarts: int = 2
    """Of the database; where there is a server to restart."""


@dataclass(slots=True)
class Course:
    """What was done, and what came of it."""

    began: datetime
    """The first tick of every schedule."""
    kills: int = 0
    stops: int = 0
    restarts: int = 0
    runs: list[tuple[str, datetime, datetime]] = field(default_factory=list)
    """Per run: the schedule, the tick, and when it was enqueued."""
    missed: dict[tuple[str, datetime], int] = field(default_factory=dict)
    """What the schedulers have owned up to: ticks by schedule and the first of them."""
    ends: dict[str, datetime] = field(default_factory=dict)
    """The next tick of each schedule when all was over: none before it is open."""


class Scheduler:
    """One process of ``reproq beat``."""

    def __init__(self, site: Site, number: int) -> None:
        self.log = site.folder / f"beat-{number}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [site.binary, "beat"],
                env=site.environment(REPROQ_LOG="info"),
                cwd=site.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.stopped_until: float | None = None

    def stop_until(self, moment: float) -> None:
        self.process.send_signal(signal.SIGSTOP)
        self.stopped_until = moment

    def go_on(self) -> None:
        if self.stopped_until is not None:
            self.process.send_signal(signal.SIGCONT)
            self.stopped_until = None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> int:
        """As a service manager would; the exit code."""
        self.go_on()
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"a scheduler did not end:\n{self.log.read_text()[-4000:]}") from None


def drive(site: Site, plan: Plan, cluster: PostgresCluster | None) -> Course:
    """Run ``plan``; ``cluster`` is the site's server, if it has one that may be restarted."""
    chance = random.Random(plan.seed)
    if cluster is None:
        _use_write_ahead_log()
    course = Course(_make_schedules(plan))
    numbers = iter(range(1_000_000))
    schedulers = [Scheduler(site, next(numbers)) for _ in range(plan.schedulers)]
    try:
        _disturb(site, plan, course, chance, schedulers, numbers, cluster)
        for scheduler in schedulers:
            scheduler.go_on()
        last = timezone.now()
        until(lambda: _all_beyond(last), seconds=QUIET_SECONDS, what="everything is caught up")
        PeriodicTask.objects.using(ALIAS).update(enabled=False)
    finally:
        codes = [scheduler.end() for scheduler in schedulers]
    assert set(codes) == {0}, f"schedulers ended with {codes}"
    _collect(course)
    return course


def _use_write_ahead_log() -> None:
    """As the file of any site that has had a worker. The first process of ours to open a new file changes
    its mode; stopped while it does, it keeps readers out, and so this driver, which alone lets it go on."""
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("PRAGMA journal_mode=WAL")


def _make_schedules(plan: Plan) -> datetime:
    """Half of them by expression, half by interval; a quarter makes up for the latest tick only."""
    began = timezone.now().replace(microsecond=0) + timedelta(seconds=3)
    PeriodicTask.objects.using(ALIAS).bulk_create(
        PeriodicTask(
            name=f"s{number:03}",
            cron_expr="* * * * * *" if number % 2 else "",
            every_seconds=None if number % 2 else 1,
            task_path=TASK,
            payload_json=[number],
            catch_up="latest" if number % 4 == 3 else "all",
            catch_up_limit=1000,
            next_run_at=began,
        )
        for number in range(plan.schedules)
    )
    return began


def _disturb(
    site: Site,
    plan: Plan,
    course: Course,
    chance: random.Random,
    schedulers: list[Scheduler],
    numbers: Any,
    cluster: PostgresCluster | None,
) -> None:
    began = time.monotonic()
    restarts = [plan.seconds * (number + 1) / (plan.restarts + 1) for number in range(plan.restarts)]
    while (passed := time.monotonic() - began) < plan.seconds:
        if cluster is not None and restarts and passed > restarts[0]:
            restarts.pop(0)
            forget_connection()
            cluster.restart(immediate=True)
            course.restarts += 1
        victim = chance.randrange(len(schedulers))
        for scheduler in schedulers:
            if scheduler.stopped_until is not None and time.monotonic() >= scheduler.stopped_until:
                scheduler.go_on()
        if chance.random() < 0.5:
            schedulers[victim].kill()
            schedulers[victim] = Scheduler(site, next(numbers))
            course.kills += 1
        elif schedulers[victim].stopped_until is None:
            schedulers[victim].stop_until(time.monotonic() + chance.uniform(*STOPPED_SECONDS))
            course.stops += 1
        _note_missed(course)
        time.sleep(chance.uniform(*PAUSE_SECONDS))


def _note_missed(course: Course) -> None:
    """Now and then, because the schedulers keep only the latest ticks of each schedule."""
    rows = PeriodicRun.objects.using(ALIAS).filter(state="missed")
    for name, first, count in rows.values_list("name", "scheduled_at", "count"):
        course.missed[name, first] = count


def _all_beyond(moment: datetime) -> bool:
    return not PeriodicTask.objects.using(ALIAS).filter(next_run_at__lte=moment).exists()


def _collect(course: Course) -> None:
    _note_missed(course)
    rows = TaskRun.objects.using(ALIAS).values_list("spec_json", "enqueued_at").iterator()
    course.runs = [
        (spec["periodic_name"], datetime.fromisoformat(spec["scheduled_at"]), enqueued)
        for spec, enqueued in rows
    ]
    course.ends = dict(PeriodicTask.objects.using(ALIAS).values_list("name", "next_run_at"))
