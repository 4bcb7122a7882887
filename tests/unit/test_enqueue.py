"""The one INSERT, on both databases."""

import os
import sqlite3
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import IntegrityError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from reproq_django import enqueue
from reproq_django.conf import BackendOptions
from reproq_django.enqueue import insert_runs
from reproq_django.models import TaskRun, Worker, WorkflowEvent
from reproq_django.new_rows import Inserted
from reproq_django.spec import build
from reproq_django.status import Dedup, RunStatus
from reproq_django.workflows import call, group
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])
committed = pytest.mark.django_db(databases=["default", "postgres"], transaction=True)


def spec_of(task, *args, dedup=None, **kwargs):
    spec = build(task, args, kwargs, backend_alias="default", options=BackendOptions())
    return spec if dedup is None else replace(spec, dedup=dedup)


def test_the_row_says_what_the_spec_says(alias):
    spec = spec_of(
        tasks.noop, "žluť ☃ \0", 1e20, run_after=datetime(2030, 1, 2, tzinfo=UTC), priority=5, lock_key="L",
        concurrency_key="c", concurrency_limit=2, fairness_key="ž", rate_key="r",
    )  # fmt: skip
    (row,) = insert_runs(alias, [spec])
    run = TaskRun.objects.using(alias).get(result_id=row.result_id)
    for name in (
        "queue_name",
        "priority",
        "run_after",
        "spec_hash",
        "task_path",
        "max_attempts",
        "timeout_seconds",
        "fairness_key",
        "rate_key",
        "rate_per_second",
        "rate_burst",
        "over_limit",
    ):
        assert getattr(run, name) == getattr(spec, name)
    assert (run.lock_key, run.concurrency_key, run.concurrency_limit, run.dedup) == ("L", "c", 2, Dedup.READY)
    assert (run.status, run.backend_alias, run.attempts, run.errors_json, run.metadata_json) == (
        "READY",
        "default",
        0,
        [],
        {},
    )
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT CAST(spec_json AS TEXT) FROM task_runs")
        assert cursor.fetchall() == [(spec.spec_json,)]


def test_enqueued_at_is_the_databases_clock(alias):
    before = timezone.now() - timedelta(milliseconds=2)
    (row,) = insert_runs(alias, [spec_of(tasks.noop)])
    assert before <= row.enqueued_at <= timezone.now() + timedelta(milliseconds=2)
    assert TaskRun.objects.using(alias).get().enqueued_at == row.enqueued_at


def test_the_trigger_assigns_the_lane(alias):
    later = timezone.now() + timedelta(hours=1)
    specs = [spec_of(tasks.noop), spec_of(tasks.noop, run_after=later), spec_of(tasks.noop, lock_key="L")]
    insert_runs(alias, specs)
    runs = TaskRun.objects.using(alias).order_by("result_id")
    assert [run.gate for run in runs] == [0, 1, 2]
    assert runs[1].claim_key - runs[0].claim_key == pytest.approx(3600e6, abs=5e6)


def test_expires_in_counts_from_the_insert(alias):
    (row,) = insert_runs(alias, [spec_of(tasks.noop.using(expires_in=timedelta(seconds=90.5)))])
    run = TaskRun.objects.using(alias).get()
    assert run.expires_at - row.enqueued_at == timedelta(seconds=90.5)


def test_what_a_task_states_of_its_limits_is_stored(alias):
    limited = tasks.noop.using(
        concurrency_key="c", concurrency_limit=1, over_limit="replace", rate_limit="90/m", rate_burst=7
    )
    insert_runs(alias, [spec_of(limited)])
    run = TaskRun.objects.using(alias).get()
    assert (run.over_limit, run.rate_key) == (2, "task:testapp.tasks.noop")
    assert (run.rate_per_second, run.rate_burst) == (1.5, 7)


def test_a_run_that_has_started_is_nobodys_twin(alias):
    insert_runs(alias, [spec_of(tasks.noop)])
    TaskRun.objects.using(alias).update(dedup=Dedup.STARTED)
    (second,) = insert_runs(alias, [spec_of(tasks.noop)])
    assert isinstance(second, Inserted)
    # Both wait now, the first one for its retry; the second one has twins.
    (third,) = insert_runs(alias, [spec_of(tasks.noop)])
    assert third.result_id == second.result_id


@pytest.mark.parametrize("mode", [Dedup.READY, Dedup.ACTIVE])
def test_a_twin_stands_for_the_new_run(alias, mode):
    (first,) = insert_runs(alias, [spec_of(tasks.noop, 1, dedup=mode)])
    other, twin = insert_runs(alias, [spec_of(tasks.noop, 2, dedup=mode), spec_of(tasks.noop, 1, dedup=mode)])
    assert isinstance(other, Inserted)
    assert twin.result_id == first.result_id


@pytest.mark.parametrize(
    ("mode", "status", "is_twin"),
    [
        (Dedup.READY, RunStatus.READY, True),
        (Dedup.READY, RunStatus.WAITING, True),
        (Dedup.READY, RunStatus.RUNNING, False),
        (Dedup.ACTIVE, RunStatus.RUNNING, True),
        (Dedup.ACTIVE, RunStatus.WAITING, True),
        (Dedup.ACTIVE, RunStatus.SUCCESSFUL, False),
        (Dedup.NONE, RunStatus.READY, False),
    ],
)
def test_which_states_count_as_twins(alias, mode, status, is_twin):
    insert_runs(alias, [spec_of(tasks.noop, dedup=mode)])
    TaskRun.objects.using(alias).update(status=status)
    (answer,) = insert_runs(alias, [spec_of(tasks.noop, dedup=mode)])
    assert isinstance(answer, TaskRun) is is_twin


MIXED = [
    spec_of(tasks.noop, '\' " \\ \n', "\u2028", run_after=datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
    spec_of(tasks.noop, "none of it"),
    spec_of(tasks.noop.using(queue_name="mail", priority=7, timeout=5, max_attempts=9), lock_key='l"\\\''),
    spec_of(
        tasks.noop.using(
            concurrency_key="c", concurrency_limit=2, over_limit="replace", rate_limit=0.1, rate_burst=4,
            rate_key="ž", fairness_key="f", expires_in=timedelta(days=400, microseconds=1), dedup=True,
        ),
    ),
]  # fmt: skip
STORED = [field.name for field in TaskRun._meta.fields if field.name not in ("result_id", "spec_json")]


def moments_apart(run):
    """A row's values; those that count from the INSERT, from there."""
    values = {name: getattr(run, name) for name in STORED}
    start = run.enqueued_at
    for name in ("enqueued_at", "created_at", "updated_at", "expires_at"):
        values[name] = values[name] and round((values[name] - start).total_seconds())
    if run.run_after is None:
        values["claim_key"] -= round(start.timestamp() * 1_000_000)
    # SQLite's clock has milliseconds, and days in a float.
    return values | {"claim_key": round(values["claim_key"], -4)}


@pytest.mark.parametrize("specs", [MIXED, MIXED[::-1], MIXED[:1] * 2], ids=["mixed", "reversed", "equal"])
def test_many_at_once_are_stored_as_each_by_itself(alias, specs):
    """Whatever a batch has in common is said once, and the rows do not show it."""
    specs = [replace(spec, dedup=Dedup.NONE) for spec in specs]
    ones = [insert_runs(alias, [spec])[0] for spec in specs]
    many = insert_runs(alias, specs)
    stored = TaskRun.objects.using(alias).in_bulk([row.result_id for row in (*ones, *many)])
    for one, other in zip(ones, many, strict=True):
        assert moments_apart(stored[one.result_id]) == moments_apart(stored[other.result_id])
        assert stored[one.result_id].spec_json == stored[other.result_id].spec_json
        assert stored[other.result_id].enqueued_at == other.enqueued_at
    assert stored[many[0].result_id].dedup == Dedup.NONE


def test_ids_that_somebody_has_given_are_not_given_again(alias):
    (first,) = insert_runs(alias, [spec_of(tasks.noop, 0)])
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "INSERT INTO task_runs (result_id, spec_json, spec_hash, task_path) VALUES (%s, '{}', '', 'a')",
            [first.result_id + 1000],
        )
        if alias == "default":
            cursor.execute("UPDATE sqlite_sequence SET seq = %s WHERE name = 'task_runs'", [first.result_id])
    rows = insert_runs(alias, [spec_of(tasks.noop, number) for number in range(1, 1005)])
    assert len({row.result_id for row in rows} | {first.result_id, first.result_id + 1000}) == 1006


def test_duplicates_within_a_batch(alias):
    first, second, third = insert_runs(
        alias, [spec_of(tasks.noop, 1), spec_of(tasks.noop, 2), spec_of(tasks.noop, 1)]
    )
    assert {type(first), type(second)} == {Inserted}
    assert third.result_id == first.result_id


def test_many_rows_keep_input_order(alias):
    specs = [spec_of(tasks.noop, number % 2400) for number in range(2500)]
    rows = insert_runs(alias, specs)
    numbers = [row.result_id for row in rows]
    assert numbers[:2400] == sorted(numbers[:2400])
    assert numbers[2400:] == numbers[:100]
    stored = dict(TaskRun.objects.using(alias).values_list("result_id", "spec_json__args__0"))
    assert [stored[number] for number in numbers] == [number % 2400 for number in range(2500)]


def test_a_batch_is_cut_by_size_as_well(monkeypatch):
    monkeypatch.setattr(enqueue, "MAX_TEXT", 1000)
    specs = [spec_of(tasks.noop, "x" * size) for size in (10, 10, 5000, 10)]
    chunks = enqueue._Chunks(specs, len, None)
    assert list(iter(chunks.take, None)) == [(specs[:2], 2), (specs[2:3], 1), (specs[3:], 1)]


@committed
def test_a_failing_chunk_stores_nothing(alias):
    good = [spec_of(tasks.noop, number) for number in range(1500)]
    bad = replace(spec_of(tasks.noop, "bad"), spec_json="no json")
    with pytest.raises(Exception, match=r"(?i)json"):
        insert_runs(alias, [*good, bad])
    assert not TaskRun.objects.using(alias).exists()


@committed
def test_an_enqueue_vanishes_with_the_transaction(alias):
    def enqueue_and_fail():
        with transaction.atomic(using=alias):
            insert_runs(alias, [spec_of(tasks.noop)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        enqueue_and_fail()
    assert not TaskRun.objects.using(alias).exists()


@committed
def test_a_duplicate_leaves_the_callers_transaction_usable(alias):
    with transaction.atomic(using=alias):
        insert_runs(alias, [spec_of(tasks.noop)])
        insert_runs(alias, [spec_of(tasks.noop)])
        insert_runs(alias, [spec_of(tasks.noop, 2)])
    assert TaskRun.objects.using(alias).count() == 2


def test_a_twin_that_ends_meanwhile_makes_room(alias, monkeypatch):
    insert_runs(alias, [spec_of(tasks.noop)])
    look, looks = enqueue._twins, []

    def too_late(*arguments):
        looks.append(TaskRun.objects.using(alias).filter(status="READY").update(status="RUNNING"))
        return look(*arguments)

    monkeypatch.setattr(enqueue, "_twins", too_late)
    (answer,) = insert_runs(alias, [spec_of(tasks.noop)])
    assert isinstance(answer, Inserted)
    assert looks == [1]


def test_twins_that_come_and_go_cannot_lose_a_run(alias, monkeypatch):
    (first,) = insert_runs(alias, [spec_of(tasks.noop)])
    monkeypatch.setattr(enqueue, "_twins", lambda *_: {})
    (answer,) = insert_runs(alias, [spec_of(tasks.noop)])
    assert answer.result_id != first.result_id


@pytest.mark.parametrize("gone", [1, 10, 11])
def test_a_twin_that_goes_takes_no_other_run_of_the_batch_with_it(alias, monkeypatch, gone):
    kept, *_ = insert_runs(alias, [spec_of(tasks.noop, "kept"), spec_of(tasks.noop, "gone")])
    look, looks = enqueue._twins, []

    def misses_one(*arguments):
        looks.append(1)
        twins = look(*arguments)
        wanted = spec_of(tasks.noop, "gone").spec_hash
        return {key: run for key, run in twins.items() if key[0] != wanted or len(looks) > gone}

    monkeypatch.setattr(enqueue, "_twins", misses_one)
    batch = [spec_of(tasks.noop, argument) for argument in ("new", "kept", "gone")]
    new, twin, last = insert_runs(alias, batch)
    assert isinstance(new, Inserted)
    assert twin.result_id == kept.result_id
    assert isinstance(last, Inserted) == (gone >= 10)
    stored = TaskRun.objects.using(alias).values_list("result_id", "dedup")
    expected = {new.result_id: 1, kept.result_id: 1, kept.result_id + 1: 1}
    assert dict(stored) == expected | ({last.result_id: 0} if gone >= 10 else {})


@committed
def test_a_race_of_equal_enqueues_makes_one_run(alias):
    start = threading.Barrier(6)
    answers = []

    def enqueue_it():
        try:
            start.wait()
            answers.extend(insert_runs(alias, [spec_of(tasks.noop, number) for number in range(20)]))
        finally:
            connections[alias].close()

    threads = [threading.Thread(target=enqueue_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 120
    assert TaskRun.objects.using(alias).count() == 20
    assert sum(isinstance(answer, Inserted) for answer in answers) == 20


@committed
@pytest.mark.parametrize(
    ("wants_wake", "age", "heard"), [(True, 0, ["mail"]), (False, 0, []), (True, 60, [])]
)
def test_postgres_wakes_workers_that_sleep(settings, postgres_cluster, wants_wake, age, heard):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    Worker.objects.using("postgres").create(
        worker_id="w",
        hostname="h",
        concurrency=1,
        wants_wake=wants_wake,
        last_seen_at=timezone.now() - timedelta(seconds=age),
    )
    with psycopg.connect(postgres_cluster.dsn("test_reproq"), autocommit=True) as listener:
        listener.execute("LISTEN reproq_wake")
        insert_runs("postgres", [spec_of(tasks.noop.using(queue_name="mail"), number) for number in range(3)])
        # A duplicate is no reason to wake anyone.
        insert_runs("postgres", [spec_of(tasks.noop.using(queue_name="mail"), 1)])
        # Notifications arrive in commit order, so this one proves that nothing else is on its way.
        with connections["postgres"].cursor() as cursor:
            cursor.execute("SELECT pg_notify('reproq_wake', 'end of test')")
        got = []
        for notification in listener.notifies(timeout=10):
            if notification.payload == "end of test":
                break
            got.append(notification.payload)
    assert got == heard


@committed
def test_one_run_is_one_statement_and_a_twin_another(alias):
    with CaptureQueriesContext(connections[alias]) as queries:
        (row,) = insert_runs(alias, [spec_of(tasks.noop, 1)])
    assert len(queries) == 1, queries.captured_queries
    with CaptureQueriesContext(connections[alias]) as queries:
        (twin,) = insert_runs(alias, [spec_of(tasks.noop, 1)])
    assert twin.result_id == row.result_id
    assert len(queries) == 2, queries.captured_queries


@committed
def test_a_run_that_the_database_refuses_takes_the_callers_transaction_with_it(alias):
    """As any statement of Django's own does; the more so where the database has rolled back by itself."""
    refused = replace(spec_of(tasks.noop, 2), queue_name=None)
    with transaction.atomic(using=alias):
        insert_runs(alias, [spec_of(tasks.noop, 1)])
        with pytest.raises(IntegrityError):
            insert_runs(alias, [refused])
        with pytest.raises(TransactionManagementError):
            TaskRun.objects.using(alias).count()
    assert TaskRun.objects.using(alias).count() == 0


def _runs_that_others_see():
    with closing(sqlite3.connect(connections["default"].settings_dict["NAME"])) as other:
        return other.execute("SELECT count(*) FROM task_runs").fetchone()[0]


@pytest.fixture
def seen_when_told():
    """How many runs another connection sees, each time that the times of the log are changed."""
    log = f"{connections['default'].settings_dict['NAME']}-wal"
    counts: list[int] = []
    listening = True

    def audit(event, arguments):
        if listening and event == "os.utime" and arguments[0] == log:
            assert os.path.exists(log)
            counts.append(_runs_that_others_see())

    # There is no way to remove one.
    sys.addaudithook(audit)
    yield counts
    listening = False


@committed
def test_the_worker_of_a_file_is_told_when_others_can_see_the_runs(seen_when_told):
    insert_runs("default", [spec_of(tasks.noop, number) for number in range(2)])
    # Alone it is a statement of its own, whose end is the commit.
    insert_runs("default", [spec_of(tasks.noop, 2)])
    with transaction.atomic():
        insert_runs("default", [spec_of(tasks.noop, 3)])
    transaction.set_autocommit(False)
    try:
        insert_runs("default", [spec_of(tasks.noop, 9)])
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)
    assert seen_when_told == [2, 3]
    assert _runs_that_others_see() == 4
    group(call(tasks.noop, 4)).enqueue()
    assert seen_when_told == [2, 3, 5]
    # A member that goes before its time leaves an event behind.
    TaskRun.objects.using("default").all().delete()
    WorkflowEvent.objects.using("default").all().delete()
