"""Dedupe under many enqueuers at once, in transactions of which some roll back, while a worker starts,
retries and ends what they enqueue."""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from django.db import connections, models, transaction

from reproq_django import enqueue as enqueue_module
from reproq_django.conf import BackendOptions
from reproq_django.enqueue import insert_runs
from reproq_django.models import TaskRun
from reproq_django.new_rows import Inserted
from reproq_django.spec import build
from reproq_django.status import Dedup, RunStatus
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"], transaction=True)

KEYS = 5
MODES = [Dedup.READY, Dedup.ACTIVE]
#: (enqueuers, transactions of each). SQLite writes one transaction after the other.
SIZES = {"postgres": (64, 15), "default": (8, 12)}


class RollBack(Exception):
    """Raised on purpose."""


@pytest.fixture
def size(alias):
    return SIZES[alias]


def specs_of(mode):
    specs = [
        build(tasks.noop, (key,), {}, backend_alias="default", options=BackendOptions())
        for key in range(KEYS)
    ]
    return [replace(spec, dedup=mode) for spec in specs]


def at_once(alias: str, jobs: list[Callable[[], None]]) -> None:
    """Run each job in a thread with a connection of its own; raises the first exception of any."""
    start, failures = threading.Barrier(len(jobs)), []

    def run(job):
        try:
            start.wait(timeout=60)
            job()
        except BaseException as error:  # noqa: BLE001 - it is raised again below
            failures.append(error)
        finally:
            connections[alias].close()

    threads = [threading.Thread(target=run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def enqueue(alias, specs, *, fail, hold=0.0):
    """The answers of an enqueue whose transaction commits; [] when it rolls back.

    The transaction stays open for another ``hold`` seconds, so that others have to wait for its end.
    """
    with suppress(RollBack), transaction.atomic(using=alias):
        answers = insert_runs(alias, specs)
        time.sleep(hold)
        if fail:
            raise RollBack
        return answers
    return []


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rolled_back", ["none", "most", "all"])
def test_of_many_equal_enqueues_one_makes_the_run(alias, size, mode, rolled_back):
    spec, *_ = specs_of(mode)
    committed = []

    def job(number):
        fail = {"none": False, "most": number % 8 != 0, "all": True}[rolled_back]
        return lambda: committed.extend(enqueue(alias, [spec], fail=fail))

    enqueuers, _ = size
    at_once(alias, [job(number) for number in range(enqueuers)])
    stored = list(TaskRun.objects.using(alias).values_list("result_id", flat=True))
    assert len(stored) == (0 if rolled_back == "all" else 1)
    assert {answer.result_id for answer in committed} == set(stored)
    assert sum(isinstance(answer, Inserted) for answer in committed) == len(stored)


def active_twins(alias, mode):
    """How many runs stand for each spec at this moment."""
    states = [RunStatus.READY] if mode == Dedup.READY else [RunStatus.READY, RunStatus.RUNNING]
    found = TaskRun.objects.using(alias).filter(status__in=states).exclude(dedup=Dedup.STARTED)
    counts = found.values("spec_hash").annotate(runs=models.Count("pk"))
    return [row["runs"] for row in counts]


def work(alias, mode, rng):
    """Start, retry or end one run, as a worker does."""
    runs = TaskRun.objects.using(alias)
    ready, running = runs.filter(status=RunStatus.READY), runs.filter(status=RunStatus.RUNNING)
    started = Dedup.STARTED if mode == Dedup.READY else mode
    step = rng.choice(["start", "start", "retry", "end"])
    source = ready if step == "start" else running
    found = source.order_by("?").values_list("pk", flat=True).first()
    if found is None:
        return
    match step:
        case "start":
            ready.filter(pk=found).update(status=RunStatus.RUNNING, dedup=started)
        case "retry":
            running.filter(pk=found).update(status=RunStatus.READY)
        case "end":
            running.filter(pk=found).update(status=RunStatus.SUCCESSFUL)


@pytest.mark.parametrize("mode", MODES)
def test_two_twins_are_never_active_and_every_answer_is_a_run_of_its_spec(alias, size, mode):
    specs = specs_of(mode)
    enqueuers, transactions = size
    answered, seen = [], []
    busy = threading.Semaphore(0)
    all_done = threading.Event()

    def enqueuer(number):
        def job():
            rng = random.Random(number)
            try:
                for _ in range(transactions):
                    batch = rng.sample(specs, rng.randint(1, KEYS))
                    answers = enqueue(alias, batch, fail=rng.random() < 0.5, hold=rng.uniform(0, 0.005))
                    answered.extend(zip((spec.spec_hash for spec in batch), answers, strict=False))
            finally:
                busy.release()

        return job

    def worker():
        rng = random.Random(mode)
        while not all_done.is_set():
            work(alias, mode, rng)
            seen.append(max(active_twins(alias, mode), default=0))
            # Leaves the database to the enqueuers, where only one may write.
            time.sleep(0.002)

    def supervisor():
        for _ in range(enqueuers):
            busy.acquire(timeout=120)
        all_done.set()

    at_once(alias, [*map(enqueuer, range(enqueuers)), worker, supervisor])
    assert max(seen) == 1
    assert max(active_twins(alias, mode)) == 1
    hashes = dict(TaskRun.objects.using(alias).values_list("result_id", "spec_hash"))
    assert len(answered) > enqueuers
    assert [hashes.get(answer.result_id) for _, answer in answered] == [wanted for wanted, _ in answered]
    # Each stored run was somebody's, who was told that it is new.
    assert sorted(answer.result_id for _, answer in answered if isinstance(answer, Inserted)) == sorted(
        hashes
    )


def test_a_bulk_whose_twin_goes_meanwhile_does_not_deadlock_with_another(settings, monkeypatch):
    alias = settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    first, second = sorted(specs_of(Dedup.READY)[:2], key=lambda spec: spec.spec_hash)
    (twin,) = insert_runs(alias, [first])
    look, answers = enqueue_module._twins, {}

    def bulk(name):
        def job():
            try:
                with transaction.atomic(using=alias):
                    answers[name] = insert_runs(alias, [first, second])
            finally:
                connections[alias].close()

        return threading.Thread(target=job)

    one, other = bulk("one"), bulk("other")

    def twin_goes(*arguments):
        if threading.current_thread() is one and not other.ident:
            # `one` holds `second`. The twin starts, so `other` can insert `first`, and waits for `second`.
            started = threading.Thread(target=start_and_wait)
            started.start()
            started.join()
        return look(*arguments)

    def start_and_wait():
        try:
            TaskRun.objects.using(alias).filter(pk=twin.result_id).update(
                status=RunStatus.RUNNING, dedup=Dedup.STARTED
            )
            other.start()
            deadline = time.monotonic() + 30
            with connections[alias].cursor() as cursor:
                while time.monotonic() < deadline:
                    cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
                    if cursor.fetchone() != (0,):
                        return
                    time.sleep(0.005)
        finally:
            connections[alias].close()

    monkeypatch.setattr(enqueue_module, "_twins", twin_goes)
    one.start()
    one.join()
    other.join()
    found = {name: [run.result_id for run in runs] for name, runs in answers.items()}
    assert found["one"] == found["other"]
    assert TaskRun.objects.using(alias).filter(status=RunStatus.READY).count() == 2
