"""``@recurring`` and what it brings into the database."""

import importlib
import logging
import re
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.tasks.base import Task
from django.utils import timezone

from reproq_django import recurring, sync
from reproq_django.discovery import find_task
from reproq_django.errors import ScheduleError
from reproq_django.models import PeriodicTask
from reproq_django.recurring import sync_recurring_tasks
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])

DAY = timedelta(days=1)


@pytest.fixture
def nothing(monkeypatch):
    """No declarations; a test makes its own."""
    monkeypatch.setattr(recurring, "_declared", [])


@pytest.fixture
def declared(nothing):
    """Those of testapp.scheduled, and the module. Not imported above: `migrate` would store them for all
    tests."""
    return importlib.reload(importlib.import_module("testapp.scheduled"))


def declare(key="a", **said):
    said = {"schedule": "0 2 * * *", **said} if "every" not in said else said
    recurring._declared[:] = [known for known in recurring._declared if known.key != key]
    recurring.recurring(key=key, **said)(tasks.echo if "args" in said else tasks.noop)


def rows(alias):
    return PeriodicTask.objects.using(alias)


@pytest.mark.parametrize("name", ["above", "below", "own", "limited", "bare"])
def test_a_task_stays_a_task(declared, name):
    task = getattr(declared, name)
    assert isinstance(task, Task)
    assert find_task(task.module_path) is task


def test_the_task_can_be_enqueued_as_ever(alias, declared):
    runs = [declared.above.enqueue(1), declared.below.enqueue(), declared.own.enqueue("eu")]
    assert len({run.result_id for run in runs}) == 3


def test_each_declaration_is_a_row(alias, declared):
    assert sync_recurring_tasks() == 6
    found = {row.name: row for row in rows(alias).all()}
    assert sorted(found) == [
        "above", "bare", "below", "own-first", "own-second", "testapp.scheduled.limited",
    ]  # fmt: skip
    above, below = found["above"], found["below"]
    assert (above.cron_expr, above.timezone, above.task_path) == (
        "0 2 * * *", "Europe/Prague", "testapp.scheduled.above",
    )  # fmt: skip
    assert (above.payload_json, above.source) == ({"args": [1], "kwargs": {"b": 2}}, "code")
    assert (above.queue_name, above.priority, above.max_attempts) == ("default", 0, 3)
    assert (below.cron_expr, below.every_seconds, below.jitter_seconds) == ("", 300, 30)
    assert (below.queue_name, below.priority, below.overlap) == ("mail", 7, "skip")
    assert (found["own-first"].max_attempts, found["own-second"].max_attempts) == (5, 9)
    assert (found["own-first"].enabled, found["own-second"].enabled) == (True, False)
    assert found["bare"].payload_json["kwargs"]["wait"]["__reproq_type__"] == "timedelta"


def test_a_row_carries_the_options_of_its_task(alias, declared):
    sync_recurring_tasks()
    own = rows(alias).get(name="own-second").options_json
    assert (own["timeout_seconds"], own["lock_key"], own["args"]) == (120, "region:us", ["us"])
    assert own["backoff"] == {"base": 3, "factor": 1, "cap": 3, "jitter": False}
    limited = rows(alias).get(name="testapp.scheduled.limited").options_json
    assert (limited["concurrency_key"], limited["concurrency_limit"]) == ("limited", 2)


def test_a_new_row_does_not_fire_at_the_deploy(alias, declared):
    sync_recurring_tasks()
    assert set(rows(alias).values_list("rebase", flat=True)) == {True}


def test_a_schedule_that_did_not_change_keeps_its_time(alias, declared):
    sync_recurring_tasks()
    soon = timezone.now() + DAY
    rows(alias).update(next_run_at=soon, rebase=False, last_run_at=soon - DAY)
    before = list(rows(alias).order_by("name").values())
    assert sync_recurring_tasks() == 6
    assert list(rows(alias).order_by("name").values()) == before


@pytest.mark.parametrize(
    "change",
    [
        {"schedule": "0 3 * * *"},
        {"timezone": "Asia/Tokyo"},
        {"every": 60},
        {"start": datetime(2030, 1, 1, tzinfo=UTC)},
        {"end": datetime(2090, 1, 1, tzinfo=UTC)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_schedule_is_computed_anew_and_does_not_fire(alias, nothing, change):
    declare()
    sync_recurring_tasks()
    soon = timezone.now() + DAY
    rows(alias).update(next_run_at=soon, rebase=False)
    declare(**change)
    sync_recurring_tasks()
    row = rows(alias).get()
    assert (row.rebase, row.next_run_at) == (True, soon)


def test_a_change_of_something_else_moves_nothing(alias, nothing):
    declare(args=(1,))
    sync_recurring_tasks()
    rows(alias).update(rebase=False)
    declare(args=(2,), queue_name="mail", max_attempts=7, overlap="queue_one")
    sync_recurring_tasks()
    row = rows(alias).get()
    assert not row.rebase
    assert (row.payload_json["args"], row.options_json["args"], row.queue_name) == ([2], [2], "mail")
    assert (row.max_attempts, row.overlap) == (7, "queue_one")


def test_who_switched_it_off(alias, nothing):
    declare()
    sync_recurring_tasks()
    rows(alias).update(enabled=False)
    declare(schedule="0 4 * * *")
    sync_recurring_tasks()
    assert not rows(alias).get().enabled, "an operator has, and a deploy leaves it so"
    rows(alias).get().save()
    declare(enabled=False)
    sync_recurring_tasks()
    declare(enabled=True)
    sync_recurring_tasks()
    assert rows(alias).get().enabled, "the code has changed its mind since"
    declare(enabled=False)
    sync_recurring_tasks()
    assert not rows(alias).get().enabled
    rows(alias).update(enabled=True)
    sync_recurring_tasks()
    assert rows(alias).get().enabled, "and an operator may start what the code has off"


def test_orphans_are_reported_and_go_when_asked(alias, declared, caplog):
    sync_recurring_tasks()
    by_hand = PeriodicTask(name="by hand", cron_expr="0 1 * * *", task_path="testapp.tasks.noop")
    by_hand.save(using=alias)
    recurring._declared[:] = [known for known in recurring._declared if known.key != "below"]
    sync_recurring_tasks()
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "schedule below: no code declares it any more, and it goes on"
    ]
    assert rows(alias).count() == 7
    report = sync.sync_database(alias, clear_missing=True)
    assert (report.deleted, report.orphans) == (["below"], [])
    assert sorted(rows(alias).values_list("name", flat=True)) == [
        "above", "bare", "by hand", "own-first", "own-second", "testapp.scheduled.limited",
    ]  # fmt: skip


def test_rows_of_people_are_left_alone(alias, nothing):
    PeriodicTask(name="a", cron_expr="0 9 * * *", task_path="testapp.tasks.noop", priority=3).save(
        using=alias
    )
    before = rows(alias).values().get()
    declare()
    report = sync.sync_database(alias, clear_missing=True)
    assert "was made by hand and says something else" in report.problems["a"]
    assert rows(alias).values().get() == before


def test_a_row_of_the_earlier_systems_sync_is_taken_over(alias, nothing):
    soon = timezone.now() + DAY
    rows(alias).create(
        name="a", cron_expr="0 2 * * *", task_path="testapp.tasks.noop", enabled=False, next_run_at=soon,
        payload_json={"args": [], "kwargs": {}}, queue_name="default", priority=0, max_attempts=3,
    )  # fmt: skip
    declare()
    assert sync.sync_database(alias).changed == ["a"]
    row = rows(alias).get()
    assert (row.source, row.enabled, row.next_run_at, row.rebase) == ("code", False, soon, False)


def test_options_are_refreshed_for_all_rows(alias, nothing, settings):
    PeriodicTask(name="by hand", cron_expr="0 1 * * *", task_path="testapp.tasks.noop").save(using=alias)
    rows(alias).create(name="raw", cron_expr="@daily", task_path="elsewhere.task", next_run_at=timezone.now())
    settings.TASKS = {
        "default": {
            "BACKEND": "reproq_django.backend.ReproqBackend",
            "OPTIONS": {"TIMEOUT_SECONDS": 77, "CODE_REF": "abc"},
        }
    }
    sync_recurring_tasks()
    options = rows(alias).get(name="by hand").options_json
    assert (options["timeout_seconds"], options["code_ref"]) == (77, "abc")
    assert rows(alias).get(name="raw").options_json is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"queue_name": "nowhere"}, "queue_name: .*wants the queue 'nowhere'"),
        ({"kwargs": {"x": object()}}, "args and kwargs: kwargs\\['x'\\] is a builtins.object"),
        ({"schedule": "0 25 * * *"}, "cron_expr: .*hour"),
        ({"timezone": "Europe/Prah"}, "timezone: there is no time zone"),
        ({"catch_up": "some"}, "catch_up: has to be one of none, latest, all"),
        ({"args": (1, 2)}, "payload_json: TypeError: testapp.tasks.echo: too many positional arguments"),
        (
            {"start": datetime(2030, 1, 1, tzinfo=UTC), "end": datetime(2029, 1, 1, tzinfo=UTC)},
            "end_at: is not after",
        ),
        ({"start": datetime(2030, 1, 1)}, "start_at: has to be an aware datetime"),  # noqa: DTZ001
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_mistake_is_reported_and_what_was_there_stays(alias, nothing, said, words):
    declare(args=(1,)) if "args" in said else declare()
    sync_recurring_tasks()
    before = rows(alias).values().get()
    declare(**said)
    declare("good")
    report = sync.sync_database(alias, clear_missing=True)
    assert list(report.problems) == ["a"]
    assert re.search(words, report.problems["a"]), report.problems["a"]
    assert report.created == ["good"]
    assert rows(alias).filter(name="a").values().get() == before


def test_a_function_that_is_no_task_is_a_problem(alias, nothing):
    recurring.recurring(schedule="@daily", key="a")(tasks.witness)
    assert "'testapp.tasks.witness' is no task of this site" in sync.sync_database(alias).problems["a"]


def test_one_key_is_one_schedule(alias, nothing):
    for task in (tasks.noop, tasks.add):
        recurring.recurring(schedule="@daily", key="a")(task)
    assert sync.sync_database(alias).problems == {"a": "2 declarations have this key"}
    assert not rows(alias).exists()


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({}, "schedule"),
        ({"schedule": "@daily", "every": 5}, "schedule"),
        ({"every": 0}, "every"),
        ({"every": 0.5}, "every"),
        ({"every": True}, "every"),
        ({"every": "5m"}, "every"),
        ({"every": float("inf")}, "every"),
        ({"schedule": "@daily", "jitter": -1}, "jitter"),
        ({"schedule": "@daily", "jitter": timedelta(microseconds=1)}, "jitter"),
    ],
)
def test_what_no_schedule_can_be_is_refused_at_once(said, field):
    with pytest.raises(ScheduleError) as caught:
        recurring.recurring(key="a", **said)
    assert caught.value.field == field


def test_each_database_has_the_schedules_of_its_queues(settings, declared):
    settings.REPROQ_QUEUE_DATABASES = {"mail": "postgres"}
    assert sync_recurring_tasks() == 6
    assert rows("postgres").get().name == "below"
    assert rows("default").count() == 5
    assert sync_recurring_tasks(using="postgres") == 1
    # A queue that moves leaves an orphan behind.
    settings.REPROQ_QUEUE_DATABASES = {"own": "postgres"}
    assert sync.sync_database("postgres").orphans == ["below"]


def migrate(alias):
    out = StringIO()
    call_command("migrate", database=alias, stdout=out)
    return out.getvalue()


def test_migrate_stores_them(alias, declared, settings):
    settings.REPROQ_RECURRING_AUTOSYNC = False
    migrate(alias)
    assert not rows(alias).exists()
    del settings.REPROQ_RECURRING_AUTOSYNC
    assert "Schedule above: created" in migrate(alias)
    assert rows(alias).count() == 6
    assert "Schedule" not in migrate(alias)


def test_migrate_goes_on_whatever_is_wrong(alias, declared, monkeypatch, caplog):
    def broken():
        error = ZeroDivisionError("division by zero")
        error.add_note("shop.tasks cannot be imported; Reproq looks for tasks in it.")
        raise error

    recurring.recurring(schedule="@never", key="bad")(tasks.noop)
    with caplog.at_level(logging.WARNING):
        migrate(alias)
    assert 'schedule bad: cron_expr: "@never" is no known time' in caplog.text
    assert rows(alias).count() == 6
    monkeypatch.setattr(sync, "task_modules", broken)
    with caplog.at_level(logging.WARNING):
        migrate(alias)
    assert "were not brought up to date: ZeroDivisionError: division by zero shop.tasks" in caplog.text


def test_the_command(alias, declared, capsys):
    call_command("reproq", "sync-recurring", "--database", alias)
    assert f"{alias}: 6 declared schedules are stored, 0 are not" in capsys.readouterr().out
    recurring._declared.pop()
    call_command("reproq", "sync-recurring", "--database", alias, "--clear-missing")
    assert "deleted, no code declares it any more" in capsys.readouterr().out
    declare("bad", queue_name="nowhere")
    with pytest.raises(CommandError):
        call_command("reproq", "sync-recurring", "--database", alias)
    assert "bad: queue_name" in capsys.readouterr().err
