"""What a result knows of its attempts, on both databases. The worker's rows are written by hand here."""

import json
import pickle
from dataclasses import fields
from datetime import UTC, datetime

import pytest
from asgiref.sync import async_to_sync

from reproq_django.history import Attempt, Progress
from reproq_django.models import AttemptLog, TaskRun
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])

CRASHED = {
    "attempt": 1, "epoch": 1, "worker": "w-1", "pid": 4711, "outcome": "crashed",
    "exit": "signal 11 (SIGSEGV)",
    "exception_class": None, "message": "the task's process ended", "cpu_ms": 12.5, "max_rss_kib": 40960,
    "started_at": "2026-01-02T03:04:05.678901+00:00", "ended_at": "2026-01-02T03:04:06.000000+00:00",
}  # fmt: skip
NOTHING = dict.fromkeys(field.name for field in fields(Attempt))


def change(alias, result, **values):
    TaskRun.objects.using(alias).filter(pk=result.result_id).update(**values)


def keep_log(alias, result, epoch, attempt, chunks, dropped=0):
    text = chunks if isinstance(chunks, str) else json.dumps(chunks)
    AttemptLog.objects.using(alias).create(
        run_id=result.result_id, epoch=epoch, attempt=attempt, chunks=text, bytes=1, dropped=dropped
    )


def test_attempts_that_have_ended(alias):
    result = tasks.noop.enqueue()
    assert (result.attempt_history, result.progress) == ((), None)
    change(alias, result, attempts_json=[CRASHED, {"attempt": 2, "outcome": "returned", "exit": 0}])
    result.refresh()
    crashed, returned = result.attempt_history
    assert crashed == Attempt(
        number=1, worker_id="w-1", pid=4711, outcome="crashed", exit="signal 11 (SIGSEGV)",
        exception_class=None, message="the task's process ended", cpu_ms=12.5, max_rss_kib=40960,
        started_at=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC), ended_at=datetime(2026, 1, 2, 3, 4, 6, 0, UTC),
    )  # fmt: skip
    assert returned == Attempt(**{**NOTHING, "number": 2, "outcome": "returned", "exit": "0"})
    assert pickle.loads(pickle.dumps(result)).attempt_history == result.attempt_history


def test_moments_have_the_form_that_the_site_uses(alias, settings):
    settings.USE_TZ, settings.TIME_ZONE = False, "UTC"
    result = tasks.noop.enqueue()
    change(alias, result, attempts_json=[CRASHED])
    result.refresh()
    assert result.attempt_history[0].ended_at == datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC).replace(
        tzinfo=None
    )


@pytest.mark.parametrize("history", [{}, "x", 5, [1, None, "x"]])
def test_a_history_that_makes_no_sense_is_empty(alias, history):
    result = tasks.noop.enqueue()
    change(alias, result, attempts_json=history, progress_json=[1])
    result.refresh()
    assert (result.attempt_history, result.progress) == ((), None)


def test_entries_that_make_no_sense_are_unknown(alias):
    result = tasks.noop.enqueue()
    change(alias, result, attempts_json=[{"attempt": "x", "started_at": "soon", "ended_at": 5, "cpu_ms": []}])
    result.refresh()
    assert result.attempt_history == (Attempt(**NOTHING),)


def test_progress(alias):
    result = tasks.noop.enqueue()
    change(
        alias,
        result,
        progress_json={"current": 3, "total": 4, "message": "page 3", "at": "2026-01-02T03:04:05+00:00"},
    )
    async_to_sync(result.arefresh)()
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert result.progress == Progress(current=3, total=4, message="page 3", at=at)
    assert result.progress.fraction == 0.75
    assert Progress.read({"current": 1, "message": ""}).message is None


@pytest.mark.parametrize(
    ("current", "total", "fraction"),
    [
        (0, 10, 0.0),
        (12, 10, 1.0),
        (-1, 10, 0.0),
        (1.5, 3, 0.5),
        (1, None, None),
        (None, 3, None),
        (0, 0, None),
    ],
)
def test_the_fraction_of_the_work(current, total, fraction):
    assert Progress.read({"current": current, "total": total}).fraction == fraction


def test_logs_come_in_the_order_of_the_attempts(alias):
    result, other = tasks.echo.enqueue(1), tasks.echo.enqueue(2)
    assert result.logs() == ""
    keep_log(alias, result, 3, 2, [["e", "again\n"]], dropped=7)
    keep_log(alias, result, 1, 1, [["o", "out\n"], ["e", "err\n"], ["o", "end\n"]])
    keep_log(alias, other, 1, 1, "what is this?")
    assert result.logs(attempt=1) == "out\nerr\nend\n"
    assert result.logs(attempt=2) == "[7 bytes before this are not kept]\nagain\n"
    assert result.logs() == result.logs(1) + result.logs(2)
    assert async_to_sync(result.alogs)(1) == result.logs(1)
    assert (result.logs(attempt=9), other.logs()) == ("", "")


def test_logs_go_with_their_run(alias):
    result, other = tasks.echo.enqueue(1), tasks.echo.enqueue(2)
    for one in (result, other):
        keep_log(alias, one, 1, 1, [["o", "out"]])
    run = TaskRun.objects.using(alias).get(pk=result.result_id)
    assert [log.attempt for log in run.attempt_logs.all()] == [1]
    run.delete()
    assert list(AttemptLog.objects.using(alias).values_list("run_id", flat=True)) == [other.result_id]
    TaskRun.objects.using(alias).all().delete()
    assert not AttemptLog.objects.using(alias).exists()
