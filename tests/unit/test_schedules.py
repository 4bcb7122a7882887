"""``PeriodicTask``: what a save brings along, what ``clean`` refuses, when it fires and what came of it."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connections
from django.utils import timezone

from reproq_django import binary, schedules, timetable
from reproq_django.binary import BinaryError, BinaryRefusal
from reproq_django.models import PeriodicRun, PeriodicTask
from reproq_django.serialization import encode
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])

DAILY = {"cron_expr": "0 2 * * *", "task_path": "testapp.tasks.echo", "payload_json": {"args": [1]}}


def rows(alias):
    return PeriodicTask.objects.using(alias)


def make(alias, **columns):
    schedule = PeriodicTask(**{"name": "a", **DAILY, **columns})
    schedule.save(using=alias)
    return schedule


def test_what_users_have_written_for_the_earlier_system(alias):
    def as_ever():
        return rows(alias).update_or_create(
            name="nightly",
            defaults={
                "cron_expr": "0 2 * * *",
                "task_path": "testapp.tasks.echo",
                "payload_json": {"args": [1], "kwargs": {}},
                "queue_name": "default",
                "next_run_at": timezone.now(),
                "enabled": True,
            },
        )

    for expected in (True, False):
        row, created = as_ever()
        assert created is expected
        stored = rows(alias).get()
        assert timezone.now() - stored.next_run_at < timedelta(seconds=5)
        assert not stored.rebase, "it fires at once"
        assert stored.options_json["args"] == [1]
        # What a deploy or an edit may have left.
        rows(alias).update(rebase=True, options_json=None, next_run_at=row.next_run_at - timedelta(days=1))


def test_a_time_of_the_callers_beats_a_change_that_would_compute_it(alias):
    schedule = make(alias, next_run_at=timezone.now() + timedelta(days=1))
    schedule.cron_expr, schedule.next_run_at = "0 3 * * *", timezone.now()
    schedule.save()
    assert not rows(alias).get().rebase


def test_without_a_time_it_begins_from_now_on(alias):
    assert make(alias).rebase
    row = rows(alias).get()
    assert row.rebase
    rows(alias).update(rebase=False)
    row.next_run_at = None
    row.save()
    assert rows(alias).get().rebase


def test_a_save_leaves_to_the_scheduler_what_is_its(alias):
    make(alias, next_run_at=timezone.now())
    read = rows(alias).get()
    moved = timezone.now() + timedelta(days=1)
    rows(alias).update(next_run_at=moved, last_run_at=moved, problem="x", rebase=True)
    read.priority = 5
    read.save()
    row = rows(alias).get()
    assert (row.priority, row.next_run_at, row.last_run_at, row.problem, row.rebase) == (
        5, moved, moved, "x", True,
    )  # fmt: skip
    row.last_run_at = None
    row.save()
    assert rows(alias).get().last_run_at is None, "unless the caller has changed it"
    row.refresh_from_db()
    row.save()
    assert rows(alias).get().next_run_at == moved


def test_deferred_columns_stay_unread(alias, django_assert_num_queries):
    make(alias)
    row = rows(alias).only("name", "enabled").get()
    row.enabled = False
    with django_assert_num_queries(1, using=alias):
        row.save()
    assert not rows(alias).get().enabled


def test_options_are_those_of_an_enqueue(alias):
    schedule = make(alias, task_path="testapp.tasks.mark", payload_json=[7], queue_name="mail", priority=9)
    run = tasks.mark.enqueue(7)
    from reproq_django.models import TaskRun

    spec = TaskRun.objects.using(alias).get(result_id=run.result_id).spec_json
    spec = json.loads(spec) if isinstance(spec, str) else spec
    options = rows(alias).get().options_json
    assert options["payload"] == schedule.payload_json == [7]
    assert (options["args"], options["kwargs"]) == (spec["args"], spec["kwargs"])
    assert options["timeout_seconds"] == spec["exec"]["timeout_seconds"]
    assert {key: options[key] for key in spec["provenance"]} == spec["provenance"]
    assert options["takes_context"] is spec["takes_context"]


@pytest.mark.parametrize(
    ("payload", "args", "kwargs"),
    [
        ([1], [1], {}),
        ({"args": [1]}, [1], {}),
        ({"kwargs": {"value": 1}}, [], {"value": 1}),
        ({"args": None, "kwargs": {"value": 1}}, [], {"value": 1}),
        ({"value": 1}, [], {"value": 1}),
        ({"args": [encode(Decimal("1.5"), "x")]}, [encode(Decimal("1.5"), "x")], {}),
    ],
)
def test_forms_of_a_payload(alias, payload, args, kwargs):
    options = make(alias, payload_json=payload).options_json
    assert (options["args"], options["kwargs"]) == (args, kwargs)


def test_a_model_in_a_payload(alias):
    user = User.objects.using(alias).create(username="u")
    schedule = make(alias, payload_json={"args": [encode(user, "x")]})
    assert schedule.options_json["args"] == [encode(user, "x")]
    assert "payload_json" not in schedules.problems_of(schedule)
    user.delete()
    assert "there is no auth.User" in schedules.problems_of(schedule)["payload_json"]


@pytest.mark.parametrize(
    "columns",
    [
        {"task_path": "elsewhere.task"},
        {"task_path": "testapp.tasks.witness"},
        {"task_path": ""},
        {"payload_json": 5},
        {"payload_json": {"args": [], "more": 1}},
        {"payload_json": {"args": [1, 2, 3]}},
        {"payload_json": {"args": {"no": "list"}}},
        {"payload_json": {"value": 1, "run_after": encode(timedelta(1), "x")}},
    ],
    ids=str,
)
def test_a_row_whose_options_cannot_be_had_is_saved_all_the_same(alias, columns):
    make(alias, **columns)
    assert rows(alias).get().options_json is None
    (field,) = columns
    assert schedules.problems_of(rows(alias).get()).keys() == {field}


def test_a_path_never_decides_what_is_imported(alias):
    import sys

    sys.modules.pop("testapp.unimportable", None)
    make(alias, task_path="testapp.unimportable.task")
    assert "testapp.unimportable" not in sys.modules


def test_clean_names_each_field(alias):
    schedule = make(
        alias, cron_expr="61 * * * *", timezone="UTC", catch_up="x", overlap="y", catch_up_limit=0,
        jitter_seconds=-1, max_attempts=0, concurrency_limit=-1, concurrency_key="k" * 500,
        start_at=datetime(2030, 1, 2, tzinfo=UTC), end_at=datetime(2030, 1, 1, tzinfo=UTC),
        task_path="gone.task",
    )  # fmt: skip
    with pytest.raises(ValidationError) as caught:
        schedule.clean()
    assert sorted(caught.value.message_dict) == [
        "catch_up", "catch_up_limit", "concurrency_key", "concurrency_limit", "cron_expr", "end_at",
        "jitter_seconds", "max_attempts", "overlap", "task_path",
    ]  # fmt: skip
    make(alias, name="b", every_seconds=5, cron_expr="").clean()


def test_a_schedule_lives_with_its_queue(settings):
    settings.REPROQ_QUEUE_DATABASES = {"mail": "postgres"}
    make("postgres", queue_name="mail").clean()
    with pytest.raises(ValidationError, match="lives in the database 'postgres'"):
        make("default", queue_name="mail").clean()


def test_a_backend_of_another_make(alias, settings):
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    schedule = make(alias)
    assert schedule.options_json is None
    assert "is not Reproq's" in schedules.problems_of(schedule)["task_path"]


def test_without_a_binary_the_expression_is_the_schedulers_to_judge(alias, monkeypatch, caplog):
    def missing():
        raise BinaryError("the reproq binary was not found")

    monkeypatch.setattr(binary, "find_matching_once", missing)
    schedule = make(alias, cron_expr="nonsense")
    schedule.clean()
    assert "'nonsense' is not checked: the reproq binary was not found" in caplog.text
    with pytest.raises(BinaryError):
        schedule.next_runs()


START = datetime(2030, 3, 30, 12, tzinfo=UTC)


def test_next_runs_of_an_expression(alias):
    schedule = make(alias, cron_expr="30 2 * * *", timezone="Europe/Prague", next_run_at=START)
    # On the 31st the clocks go from two to three.
    assert schedule.next_runs(3) == [
        START, datetime(2030, 3, 31, 1, 0, tzinfo=UTC), datetime(2030, 4, 1, 0, 30, tzinfo=UTC),
    ]  # fmt: skip
    assert len(schedule.next_runs()) == 5
    schedule.end_at = datetime(2030, 3, 31, 1, 0, tzinfo=UTC)
    assert len(schedule.next_runs()) == 2
    schedule.enabled = False
    assert schedule.next_runs() == []
    schedule.enabled, schedule.timezone = True, "nowhere"
    with pytest.raises(BinaryRefusal, match="there is no time zone"):
        schedule.next_runs()


def test_next_runs_of_even_spans(alias):
    schedule = make(alias, cron_expr="", every_seconds=90, next_run_at=START)
    assert schedule.next_runs(3) == [START + timedelta(seconds=90) * number for number in range(3)]
    schedule.start_at = START + timedelta(seconds=10)
    assert schedule.next_runs(2) == [schedule.start_at, schedule.start_at + timedelta(seconds=90)]
    schedule.start_at, schedule.rebase = None, True
    first, second = schedule.next_runs(2)
    assert second - first == timedelta(seconds=90)
    assert timedelta(seconds=80) < first - timezone.now() <= timedelta(seconds=90)
    schedule.rebase, schedule.next_run_at = False, timetable.NEVER
    assert schedule.next_runs() == []


def test_next_runs_that_are_not_computed_yet_count_from_now_or_the_start(alias):
    schedule = make(alias, cron_expr="0 0 * * *")
    (first,) = schedule.next_runs(1)
    assert timezone.now() < first <= timezone.now() + timedelta(days=1)
    schedule.start_at = datetime(2040, 1, 1, tzinfo=UTC)
    assert schedule.next_runs(1) == [schedule.start_at]


def test_history_takes_two_queries(alias, django_assert_num_queries):
    schedule = make(alias)
    moment = timezone.now()
    for number in range(30):
        run = tasks.noop.enqueue(number)
        PeriodicRun.objects.using(alias).create(
            name="a", scheduled_at=moment - timedelta(hours=number), state="enqueued", result_id=run.result_id
        )
    PeriodicRun.objects.using(alias).create(name="b", scheduled_at=moment, state="missed")
    with django_assert_num_queries(2, using=alias):
        history = schedule.history()
    assert [tick.scheduled_at for tick in history] == [moment - timedelta(hours=n) for n in range(20)]
    assert {(tick.state, tick.run_status, tick.outcome) for tick in history} == {
        ("enqueued", "READY", "Ready")
    }


def test_refusals_of_the_binary_are_its_own_words():
    with pytest.raises(BinaryRefusal, match=r'^"@never" is no known time'):
        binary.ask(["cron", "next", "@never"])
    assert timetable.problems("@daily", "UTC") == {}
    assert timetable.problems("", "Mars/Base").keys() == {"timezone"}
    assert timetable.problems("CRON_TZ=Mars/Base @daily", "UTC").keys() == {"cron_expr"}


def test_the_tables_own_trigger_computes_anew_what_somebody_edits(alias):
    make(alias, next_run_at=START)
    rows(alias).update(timezone="Asia/Tokyo")
    assert rows(alias).get().rebase
    assert connections[alias].vendor in ("sqlite", "postgresql")
