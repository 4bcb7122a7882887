"""What the triggers make of keys, limits and rates, and what the views say is paused; on both databases."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from reproq_django.conf import BackendOptions
from reproq_django.enqueue import insert_runs
from reproq_django.models import KeyLimit, QueueControl, RateLimit, TaskControl, TaskRun
from reproq_django.spec import build
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])

FREE, NOT_DUE, KEYED = 0, 1, 2
LOCK = {"lock_key": "l"}
LIMIT = {"concurrency_key": "c", "concurrency_limit": 2}


def enqueue(alias, *args, task=tasks.noop, **kwargs):
    """The row of a new run."""
    spec = build(task, args, kwargs, backend_alias="default", options=BackendOptions(dedup_active=False))
    (row,) = insert_runs(alias, [spec])
    return TaskRun.objects.using(alias).get(result_id=row.result_id)


def change(run, **values):
    """The row after an UPDATE by somebody who knows nothing of lanes."""
    TaskRun.objects.using(run._state.db).filter(pk=run.pk).update(**values)
    run.refresh_from_db()
    return run


def words(alias, key):
    """What has been said of a key's limit, oldest word first."""
    found = KeyLimit.objects.using(alias).filter(key=key).order_by("limit_id")
    return [(word.amount, word.burst, word.pinned) for word in found]


def rows(alias, query):
    with connections[alias].cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchall()


@pytest.mark.parametrize(
    "keys", [LOCK, LIMIT, {"concurrency_key": "c"}, {"fairness_key": "f"}, {"rate_key": "r"}], ids=str
)
def test_any_key_makes_a_run_keyed(alias, keys):
    run = enqueue(alias, **keys)
    assert (run.gate, bool(run.visit_key)) == (KEYED, True)


def test_a_run_without_keys_is_free(alias):
    for keys in ({}, {"lock_key": "", "concurrency_key": "", "fairness_key": "", "rate_key": ""}):
        run = enqueue(alias, **keys)
        assert (run.gate, run.visit_key) == (FREE, None)


def test_a_keyed_run_that_is_not_due_waits_for_its_time_and_knows_its_group(alias):
    now, later = enqueue(alias, **LOCK), enqueue(alias, **LOCK, run_after=timedelta(hours=1))
    assert (later.gate, later.visit_key) == (NOT_DUE, now.visit_key)


@pytest.mark.parametrize(
    ("keys", "visit_key"),
    [
        (LOCK, "Ll|l|||testapp.tasks.noop"),
        (LIMIT, "Fc||c||testapp.tasks.noop"),
        (LIMIT | LOCK, "Fc|l|c||testapp.tasks.noop"),
        (LIMIT | {"fairness_key": "f"}, "Ff||c||testapp.tasks.noop"),
        ({"rate_key": "r"}, "Rkey:r|||key:r|testapp.tasks.noop"),
        (LOCK | {"lock_key": "ž" * 200}, "L" + "ž" * 200 + "|" + "ž" * 200 + "|||testapp.tasks.noop"),
    ],
    ids=str,
)
def test_runs_that_the_same_keys_hold_back_are_one_group_on_both_databases(alias, keys, visit_key):
    assert enqueue(alias, **keys).visit_key == visit_key.replace("|", "\x1f")


@pytest.mark.parametrize("later", [None, timedelta(hours=1)], ids=["due", "later"])
@pytest.mark.parametrize(
    "keys",
    [{}, LOCK, LIMIT, LIMIT | LOCK, {"fairness_key": ""}, {"rate_key": "r"}, {"fairness_key": "ž" * 200}],
    ids=str,
)
def test_an_enqueue_gives_the_lane_that_the_trigger_gives(keys, later):
    run = enqueue("postgres", task=tasks.noop.using(priority=3), **keys, run_after=later)
    names = "queue_name, priority, run_after, spec_json, spec_hash, task_path, enqueued_at, lock_key,"
    names += " concurrency_key, concurrency_limit, fairness_key, rate_key"
    with connections["postgres"].cursor() as cursor:
        cursor.execute(
            f"INSERT INTO task_runs ({names}) SELECT {names} FROM task_runs WHERE result_id = %s"
            " RETURNING gate, claim_key, visit_key",
            [run.result_id],
        )
        assert cursor.fetchall() == [(run.gate, run.claim_key, run.visit_key)]


def test_an_enqueue_does_without_the_trigger():
    with connections["postgres"].cursor() as cursor:
        cursor.execute("ALTER TABLE task_runs DISABLE TRIGGER reproq_task_runs_insert_lane")
    run = enqueue("postgres", **LOCK)
    assert (run.gate, run.claim_key is None) == (KEYED, False)


def test_the_largest_keys_fit_the_index(alias):
    keys = {name: name[0] * 400 for name in ("lock_key", "concurrency_key", "fairness_key", "rate_key")}
    assert enqueue(alias, **keys, concurrency_limit=1).gate == KEYED


def test_keys_of_others_are_too_long_for_us_but_not_for_the_database(alias):
    run = change(enqueue(alias), lock_key="x" * 100_000)
    assert run.gate == KEYED


@pytest.mark.parametrize("keys", [LOCK, {"fairness_key": "f"}, {"rate_key": "key:r"}], ids=str)
def test_a_change_of_keys_changes_the_lane(alias, keys):
    run = change(enqueue(alias), **keys)
    assert (run.gate, bool(run.visit_key)) == (KEYED, True)
    run = change(run, **dict.fromkeys(keys))
    assert (run.gate, run.visit_key) == (FREE, None)


def test_a_retry_gets_its_lane_back(alias):
    run = enqueue(alias, **LOCK)
    lane = run.gate, run.visit_key
    change(run, status="RUNNING", gate=None, visit_key=None)
    run = change(run, status="READY")
    assert (run.gate, run.visit_key) == lane
    later = timezone.now() + timedelta(minutes=1)
    run = change(change(run, status="RUNNING"), status="READY", run_after=later)
    assert (run.gate, run.visit_key) == (NOT_DUE, lane[1])


def test_the_latest_enqueue_states_the_limit_of_a_key(alias):
    for limit in (2, 2, 3, 3, 2, 0):
        enqueue(alias, concurrency_key="c", concurrency_limit=limit)
    assert words(alias, "concurrency:c") == [(2, 1, False), (3, 1, False), (2, 1, False)]


def test_an_operators_word_is_not_repeated_nor_covered(alias):
    KeyLimit.objects.using(alias).create(key="concurrency:c", amount=9, pinned=True)
    for _ in range(2):
        enqueue(alias, **LIMIT)
    assert words(alias, "concurrency:c") == [(9, 1, True), (2, 1, False)]


def test_one_batch_says_a_limit_once(alias):
    limited = tasks.noop.using(rate_limit="90/m", rate_burst=3, **LIMIT)
    options = BackendOptions()
    specs = [build(limited, (number,), {}, backend_alias="default", options=options) for number in range(50)]
    insert_runs(alias, specs)
    assert words(alias, "concurrency:c") == [(2, 1, False)]
    assert words(alias, "task:testapp.tasks.noop") == [(1.5, 3, False)]


def test_the_latest_enqueue_states_the_rate_of_a_key(alias):
    for rate, burst in ((5, 1), (5, 1), (5, 2), (4, 2)):
        enqueue(alias, task=tasks.noop.using(rate_limit=rate, rate_burst=burst, rate_key="r"))
    assert words(alias, "key:r") == [(5, 1, False), (5, 2, False), (4, 2, False)]
    enqueue(alias, rate_key="r")
    assert len(words(alias, "key:r")) == 3


def test_a_new_limit_of_a_waiting_run_is_said_too(alias):
    run = change(enqueue(alias, **LIMIT), concurrency_limit=5)
    assert words(alias, "concurrency:c") == [(2, 1, False), (5, 1, False)]
    change(run, status="RUNNING")
    change(run, status="READY")
    assert len(words(alias, "concurrency:c")) == 2


def test_a_word_vanishes_with_its_transaction(alias):
    def enqueue_and_fail():
        with transaction.atomic(using=alias):
            enqueue(alias, concurrency_key="c", concurrency_limit=7)
            raise ZeroDivisionError

    enqueue(alias, **LIMIT)
    with pytest.raises(ZeroDivisionError):
        enqueue_and_fail()
    assert words(alias, "concurrency:c") == [(2, 1, False)]


MOMENT = datetime(2030, 1, 1, tzinfo=UTC)
MOMENT_TAT = int(MOMENT.timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("rate", "burst", "tokens", "tat"),
    [
        (2, 10, 10, None),
        (2, 10, 12, None),
        (2, 10, 0, MOMENT_TAT + 5_000_000),
        (0.5, 10, 9, MOMENT_TAT + 2_000_000),
        (0, 10, 0, None),
    ],
)
def test_tokens_of_a_rate_that_others_set_are_taken_over(alias, rate, burst, tokens, tat):
    new = {"tokens_per_second": rate, "burst_size": burst, "current_tokens": tokens}
    made = RateLimit.objects.using(alias).create(key="queue:a", last_refilled_at=MOMENT, **new)
    made.refresh_from_db()
    assert made.tat == (tat and pytest.approx(tat, abs=1000))
    old = {"tokens_per_second": 9, "burst_size": 1, "current_tokens": 0.5}
    RateLimit.objects.using(alias).create(key="queue:b", last_refilled_at=MOMENT, **old)
    RateLimit.objects.using(alias).filter(key="queue:b").update(**new)
    assert RateLimit.objects.using(alias).get(key="queue:b").tat == (tat and pytest.approx(tat, abs=1000))


def test_another_rate_for_the_same_key_keeps_what_has_started(alias):
    values = {"tokens_per_second": 1, "burst_size": 10, "current_tokens": 10}
    RateLimit.objects.using(alias).create(key="r", last_refilled_at=MOMENT - timedelta(days=1), **values)
    limit = RateLimit.objects.using(alias).filter(key="r")
    now = int(time.time() * 1_000_000)
    limit.update(tat=now + 600_000_000)
    limit.update(tokens_per_second=2, burst_size=5)
    # Six hundred starts ahead, at the new pace.
    assert limit.get().tat == pytest.approx(now + 300_000_000, abs=30_000_000)
    # Tokens that somebody writes are there.
    limit.update(current_tokens=5)
    assert limit.get().tat is None


def test_saving_a_rate_that_was_read_does_not_take_back_what_started_since(alias):
    RateLimit.objects.using(alias).create(key="r", tokens_per_second=1, burst_size=1, current_tokens=1)
    read = RateLimit.objects.using(alias).get(key="r")
    RateLimit.objects.using(alias).filter(key="r").update(tat=MOMENT_TAT)
    read.save()
    read.refresh_from_db()
    assert read.tat == MOMENT_TAT
    read.tat = None
    read.save(update_fields=["tat"])
    read.refresh_from_db()
    assert read.tat is None


@pytest.mark.parametrize(
    ("model", "view"), [(QueueControl, "reproq_paused_queues"), (TaskControl, "reproq_paused_tasks")]
)
def test_a_pause_is_over_when_its_time_has_come(alias, model, view):
    now = timezone.now()
    ends = {
        "for good": None, "a while": now + timedelta(minutes=1), "over": now - timedelta(seconds=1),
        "not at all": None,
    }  # fmt: skip
    for name, end in ends.items():
        model.objects.using(alias).create(pk=name, paused=name != "not at all", resume_at=end)
    found = rows(alias, f"SELECT {model._meta.pk.column} FROM {view} ORDER BY 1")
    assert found == [("a while",), ("for good",)]


def test_which_tasks_and_queues_are_counted_or_held(alias):
    TaskControl.objects.using(alias).create(task_path="a.paused", paused=True)
    for key, rate in [
        ("task:a.limited", 1), ("task:a.free", 0), ("queue:mail", 1), ("queue:fast", 0), ("key:k", 1),
        ("taskforce", 1), ("queues", 1),
    ]:  # fmt: skip
        values = {"tokens_per_second": rate, "burst_size": 1, "current_tokens": 1}
        RateLimit.objects.using(alias).create(key=key, **values)
    diverted = rows(alias, "SELECT task_path FROM reproq_diverted_tasks ORDER BY 1")
    assert diverted == [("a.limited",), ("a.paused",)]
    assert rows(alias, "SELECT queue_name FROM reproq_limited_queues ORDER BY 1") == [("mail",)]
    values = {"tokens_per_second": 5, "burst_size": 1, "current_tokens": 1}
    RateLimit.objects.using(alias).update_or_create(key="global", defaults=values)
    assert ("",) in rows(alias, "SELECT queue_name FROM reproq_limited_queues")
