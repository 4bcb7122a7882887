import copy
import pickle
from datetime import timedelta

import pytest
from django.tasks.base import TaskError

import reproq_django
from reproq_django import Cancel, Discard, Retry, Snooze, SoftTimeout, TaskCancelled, errors
from reproq_django.context import ReproqTaskContext
from reproq_django.result import task_errors


def test_what_tasks_raise_is_at_hand():
    for name in ("Snooze", "Retry", "Discard", "Cancel", "SoftTimeout", "TaskCancelled"):
        assert getattr(reproq_django, name) is getattr(errors, name)
    with pytest.raises(AttributeError, match="ReproqError"):
        reproq_django.ReproqError  # noqa: B018


def test_a_task_that_catches_everything_does_not_catch_an_interruption():
    for interruption in (SoftTimeout, TaskCancelled):
        assert not issubclass(interruption, Exception)


def test_waits_are_seconds_or_timedeltas():
    assert Snooze(90).seconds == Snooze(timedelta(minutes=1.5)).seconds == 90.0
    assert (Retry().after, Retry(0).after, Retry(after=timedelta(seconds=2)).after) == (None, 0.0, 2.0)
    assert str(Retry(message="the shop is closed")) == "the shop is closed"
    assert (str(Discard("gone")), str(Cancel("unwanted"))) == ("gone", "unwanted")
    assert str(Retry()), str(Discard())


@pytest.mark.parametrize("wait", ["5", True, None, [5]], ids=repr)
def test_a_wait_that_is_no_time(wait):
    with pytest.raises(TypeError, match="Snooze takes seconds as a number or a timedelta"):
        Snooze(wait)


@pytest.mark.parametrize(
    "wait", [-1, float("nan"), float("inf"), timedelta(days=-1), timedelta(days=366), 10**400], ids=repr
)
def test_a_wait_that_nobody_can_wait(wait):
    with pytest.raises(ValueError, match="from 0 to 31536000 seconds"):
        Retry(after=wait)


@pytest.mark.parametrize(
    "wish", [Snooze(5), Retry(2, "later"), Retry(), Discard("no"), Cancel("no")], ids=repr
)
def test_wishes_cross_processes(wish):
    for other in (pickle.loads(pickle.dumps(wish)), copy.copy(wish)):
        assert type(other) is type(wish)
        assert (vars(other), str(other)) == (vars(wish), str(wish))


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("quarantined", "reproq_django.errors.TaskQuarantined"),
        ("memory_limit", "reproq_django.errors.MemoryLimitExceeded"),
        ("timeout", "reproq_django.errors.TaskTimedOut"),
        ("given_up", "myapp.Error"),
        ("app_error", "myapp.Error"),
    ],
)
def test_each_end_has_its_class(kind, path):
    entry = {"kind": kind, "exception_class": "myapp.Error", "message": "m"}
    assert task_errors([entry]) == [TaskError(exception_class_path=path, traceback="m")]


def test_by_hand_progress_and_time_are_checked_and_go_nowhere():
    context = ReproqTaskContext(task_result=None)
    context.progress(1, 10, "one of ten")
    context.extend_timeout(timedelta(seconds=5))
    for wrong in ("1", None, True):
        with pytest.raises(TypeError, match="counts in int or float"):
            context.progress(wrong)
    with pytest.raises(ValueError, match="finite numbers"):
        context.progress(1, float("nan"))
    with pytest.raises(TypeError, match="a str as its message"):
        context.progress(1, message=b"one")
    with pytest.raises(ValueError, match=r"extend_timeout\(\) takes from 0"):
        context.extend_timeout(-5)
