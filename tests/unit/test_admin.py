"""The admin's pages, as a browser asks for them; the queues in either database."""

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from reproq_django import admin, timetable
from reproq_django.binary import BinaryRefusal
from reproq_django.models import PeriodicRun, PeriodicTask, TaskRun, WorkflowRun
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])

SCHEDULES = "/admin/reproq_django/periodictask/"
WORKFLOWS = "/admin/reproq_django/workflowrun/"
FORM = {
    "name": "nightly", "task_path": "testapp.tasks.echo", "payload_json": '{"args": [1]}', "enabled": "on",
    "cron_expr": "0 2 * * *", "timezone": "Europe/Prague", "every_seconds": "", "jitter_seconds": "0",
    "catch_up": "latest", "catch_up_limit": "100", "overlap": "allow", "queue_name": "default",
    "priority": "0", "max_attempts": "3", "concurrency_key": "", "concurrency_limit": "0",
}  # fmt: skip


@pytest.fixture
def client(client):
    client.force_login(User.objects.create_superuser("root"))
    return client


def rows(alias):
    return PeriodicTask.objects.using(alias)


def make(alias, **columns):
    schedule = PeriodicTask(
        **{"name": "a", "cron_expr": "0 2 * * *", "task_path": "testapp.tasks.noop", **columns}
    )
    schedule.save(using=alias)
    return schedule


def text(response):
    assert response.status_code == 200
    return response.content.decode()


def errors(response):
    return {name: [re.sub(r"\s+", " ", each) for each in found]
            for name, found in response.context["adminform"].errors.items()}  # fmt: skip


def do(client, action, *names):
    return client.post(
        SCHEDULES, {"action": action, "_selected_action": names}, follow=True, headers={"accept": "text/html"}
    )


def test_a_schedule_is_made(alias, client):
    assert client.post(f"{SCHEDULES}add/", FORM).status_code == 302
    row = rows(alias).get()
    assert (row.name, row.payload_json, row.timezone, row.source) == (
        "nightly", {"args": [1]}, "Europe/Prague", None,
    )  # fmt: skip
    assert row.rebase, "it says when, not the moment of its making"
    assert row.options_json["args"] == [1]
    assert LogEntry.objects.get().get_change_message() == "Added."


def test_a_time_that_is_given_is_one(alias, client):
    given = {"next_run_at_0": "2030-01-02", "next_run_at_1": "03:04:05"}
    assert client.post(f"{SCHEDULES}add/", {**FORM, **given}).status_code == 302
    row = rows(alias).get()
    assert (row.next_run_at, row.rebase) == (datetime(2030, 1, 2, 2, 4, 5, tzinfo=UTC), False)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"cron_expr": "0 25 * * *"}, "cron_expr", "hour"),
        ({"cron_expr": ""}, "cron_expr", "needs cron_expr or every_seconds"),
        ({"every_seconds": "5"}, "cron_expr", "has both"),
        ({"timezone": "Europe/Prah"}, "timezone", "there is no time zone"),
        ({"task_path": "os.system"}, "task_path", "is no task of this site"),
        ({"payload_json": '{"args": [1, 2]}'}, "payload_json", "too many positional arguments"),
        ({"payload_json": '"x"'}, "payload_json", "a list of args or an object of kwargs"),
        ({"queue_name": "nowhere"}, "queue_name", "wants the queue 'nowhere'"),
        ({"catch_up_limit": "0"}, "catch_up_limit", "has to be a whole number from 1"),
        ({"overlap": "maybe"}, "overlap", "maybe"),
        (
            {
                "start_at_0": "2030-01-02",
                "start_at_1": "00:00",
                "end_at_0": "2030-01-01",
                "end_at_1": "00:00",
            },
            "end_at",
            "is not after start_at",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_schedule_that_cannot_fire_is_refused_with_the_reason(alias, client, change, field, words):
    found = errors(client.post(f"{SCHEDULES}add/", {**FORM, **change}))
    assert list(found) == [field]
    assert words in found[field][0]
    assert not rows(alias).exists()


def test_a_name_is_there_once(alias, client):
    make(alias, name="nightly")
    assert errors(client.post(f"{SCHEDULES}add/", FORM)) == {"name": ["There is a schedule of that name."]}


def test_an_edit_leaves_to_the_scheduler_what_is_its(alias, client):
    soon = timezone.now() + timedelta(hours=1)
    make(alias, name="nightly", next_run_at=soon)
    page = text(client.get(f"{SCHEDULES}nightly/change/"))
    shown = {
        name: re.search(rf'name="{name}" value="([^"]+)"', page)[1]
        for name in ("next_run_at_0", "next_run_at_1", "initial-next_run_at_0", "initial-next_run_at_1")
    }
    # The scheduler ticks between the page and the click, so the form brings a time that has passed.
    later = soon + timedelta(days=1)
    rows(alias).update(next_run_at=later, last_run_at=soon)
    form = {**FORM, **shown, "task_path": "testapp.tasks.noop", "payload_json": "{}"}
    assert client.post(f"{SCHEDULES}nightly/change/", {**form, "priority": "5"}).status_code == 302
    row = rows(alias).get()
    assert (row.priority, row.next_run_at, row.last_run_at, row.rebase) == (5, later, soon, True)
    assert row.timezone == "Europe/Prague", "which is why the next time is computed anew"
    # One that somebody has written is a time.
    given = {"next_run_at_0": "2030-01-02", "next_run_at_1": "03:04:05"}
    assert client.post(f"{SCHEDULES}nightly/change/", {**form, **given}).status_code == 302
    assert rows(alias).get().next_run_at == datetime(2030, 1, 2, 2, 4, 5, tzinfo=UTC)
    # And one that somebody has deleted is computed.
    given = {"next_run_at_0": "", "next_run_at_1": ""}
    assert client.post(f"{SCHEDULES}nightly/change/", {**form, **given}).status_code == 302
    assert rows(alias).get().rebase


def test_what_the_code_declares_can_only_be_switched(alias, client):
    make(alias, source="code", priority=4)
    page = text(client.get(f"{SCHEDULES}a/change/"))
    assert re.findall(r'<(?:input|select|textarea)[^>]* name="(?!csrf|_)([^"]+)"', page) == ["enabled"]
    assert (
        client.post(f"{SCHEDULES}a/change/", {"priority": "9", "cron_expr": "1 1 1 1 1"}).status_code == 302
    )
    row = rows(alias).get()
    assert (row.enabled, row.priority, row.cron_expr) == (False, 4, "0 2 * * *")


def test_a_schedule_with_a_mistake_can_be_switched_off_and_not_on(alias, client):
    rows(alias).create(
        name="a", cron_expr="never", task_path="gone.task", source="code", next_run_at=timezone.now(),
        problem="the cron expression cannot be read",
    )  # fmt: skip
    assert "the cron expression cannot be read" in text(client.get(SCHEDULES))
    text(client.get(f"{SCHEDULES}a/change/"))
    assert client.post(f"{SCHEDULES}a/change/", {}).status_code == 302
    assert not rows(alias).get().enabled
    found = errors(client.post(f"{SCHEDULES}a/change/", {"enabled": "on"}))
    assert [word.split()[0] for word in found["__all__"]] == ["cron_expr", "task_path"]
    assert not rows(alias).get().enabled


def test_the_next_times_and_the_history(alias, client):
    schedule = make(alias, timezone="Europe/Prague", next_run_at=datetime(2030, 7, 1, tzinfo=UTC))
    run = tasks.noop.enqueue()
    TaskRun.objects.using(alias).update(status="FAILED", last_error="<b>no</b>")
    moment = datetime(2026, 1, 1, 1, tzinfo=UTC)
    ticks = [
        {"state": "enqueued", "result_id": run.result_id},
        {"state": "skipped", "reason": "an earlier run has not ended"},
        {"state": "missed", "count": 7, "missed_until": moment},
        {"state": "enqueued", "result_id": run.result_id + 99},
    ]
    for number, tick in enumerate(ticks):
        PeriodicRun.objects.using(alias).create(
            name="a", scheduled_at=moment - timedelta(days=number), **tick
        )
    page = text(client.get(f"{SCHEDULES}a/change/"))
    assert "2030-07-01 02:00:00 CEST<br>2030-07-02 02:00:00 CEST<br>" in page
    assert (
        f"<tr><td>2026-01-01 02:00:00 CET</td><td>Failed</td><td>run {run.result_id}</td>"
        "<td>&lt;b&gt;no&lt;/b&gt;</td></tr>" in page
    )
    assert "<td>Skipped</td><td></td><td>an earlier run has not ended</td>" in page
    assert "<td>Missed (7)</td>" in page
    assert f"<td>Enqueued</td><td>run {run.result_id + 99}</td>" in page, "its run has been pruned"
    assert [tick.state for tick in schedule.history(2)] == ["enqueued", "skipped"]


def test_the_list_shows_the_newest_outcome_in_a_bounded_number_of_queries(
    alias, client, django_assert_max_num_queries
):
    run = tasks.noop.enqueue()
    for number in range(20):
        make(alias, name=f"s{number}", every_seconds=5, cron_expr="")
        PeriodicRun.objects.using(alias).create(
            name=f"s{number}", scheduled_at=timezone.now(), state="enqueued", result_id=run.result_id
        )
    with django_assert_max_num_queries(8, using=alias):
        page = text(client.get(SCHEDULES))
    assert page.count('<td class="field-last_outcome">Ready</td>') == 20
    assert "every 5 s" in page
    assert "s1" in text(client.get(SCHEDULES, {"q": "noop"}))


def test_switching_is_logged(alias, client):
    make(alias, name="a")
    make(alias, name="b", enabled=False)
    page = text(do(client, "disable", "a", "b"))
    assert "1 schedules disabled" in page
    assert not rows(alias).filter(enabled=True).exists()
    assert [(entry.object_id, entry.get_change_message()) for entry in LogEntry.objects.all()] == [
        ("a", "Changed enabled.")
    ]
    rows(alias).update(rebase=False)
    do(client, "enable", "a")
    assert rows(alias).get(name="a").enabled
    assert rows(alias).get(name="a").rebase, "what it has missed meanwhile is not made up for"


def test_run_now_is_logged_and_a_refusal_is_shown(alias, client, monkeypatch):
    make(alias)
    run = tasks.noop.enqueue()
    monkeypatch.setattr(timetable, "run_now", lambda schedule: run)
    assert f"Schedule a: run {run.result_id} is enqueued" in text(do(client, "run_now", "a"))
    assert LogEntry.objects.get().get_change_message() == f"Run now: run {run.result_id}."

    def refuse(schedule):
        raise BinaryRefusal("there is no <such> schedule")

    monkeypatch.setattr(timetable, "run_now", refuse)
    assert "there is no &lt;such&gt; schedule" in text(do(client, "run_now", "a"))
    assert LogEntry.objects.count() == 1


def test_who_may_only_look(alias, client):
    make(alias)
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(*Permission.objects.filter(codename="view_periodictask"))
    client.force_login(viewer)
    assert '<select name="action"' not in text(client.get(SCHEDULES))
    for action in ("run_now", "disable"):
        do(client, action, "a")
    assert rows(alias).get().enabled
    assert client.post(f"{SCHEDULES}a/change/", FORM).status_code == 403
    assert client.post(f"{SCHEDULES}add/", FORM).status_code == 403


def test_nothing_of_the_database_is_markup(alias, client):
    evil = "<script>alert(1)</script>"
    make(alias, name=evil, cron_expr=evil, task_path=evil, timezone=evil, queue_name=evil)
    rows(alias).update(problem=evil)
    PeriodicRun.objects.using(alias).create(name=evil, scheduled_at=timezone.now(), state=evil, reason=evil)
    for page in (SCHEDULES, f"{SCHEDULES}{admin.admin.utils.quote(evil)}/change/"):
        found = text(client.get(page))
        assert "alert(1)" in found
        assert evil not in found


def test_deleting(alias, client):
    make(alias)
    assert client.post(f"{SCHEDULES}a/delete/", {"post": "yes"}).status_code == 302
    assert not rows(alias).exists()


def test_a_queue_of_another_database_is_refused(settings, client):
    settings.REPROQ_QUEUE_DATABASES = {"mail": "postgres"}
    found = errors(client.post(f"{SCHEDULES}add/", {**FORM, "queue_name": "mail"}))
    assert "lives in the database 'postgres'" in found["queue_name"][0]


def test_workflows_are_there_to_look_at(alias, client):
    one = WorkflowRun(workflow_id=uuid4(), expected_count=5, success_count=3)
    one.save(using=alias)
    assert str(one.workflow_id) in text(client.get(WORKFLOWS))
    assert str(one.workflow_id) not in text(client.get(WORKFLOWS, {"q": str(uuid4())}))
    assert str(one.workflow_id) not in text(client.get(WORKFLOWS, {"q": "nonsense"}))
    page = text(client.get(f"{WORKFLOWS}{one.workflow_id}/change/"))
    assert '<input type="submit"' not in page
    assert client.post(f"{WORKFLOWS}add/", {}).status_code == 403
    assert client.post(f"{WORKFLOWS}{one.workflow_id}/change/", {}).status_code == 403
    assert client.post(f"{WORKFLOWS}{one.workflow_id}/delete/", {"post": "yes"}).status_code == 403
