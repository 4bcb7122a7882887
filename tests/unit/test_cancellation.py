"""What a site that cancels a run is told, on both databases."""

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.tasks.exceptions import TaskResultDoesNotExist

from reproq_django.cancellation import Cancellation, cancel_runs
from reproq_django.errors import TaskCancelled
from reproq_django.models import TaskRun
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])
committed = pytest.mark.django_db(databases=["default", "postgres"], transaction=True)


def row(alias, result):
    return TaskRun.objects.using(alias).get(result_id=result.result_id)


def make(alias, **values):
    result = tasks.noop.enqueue()
    TaskRun.objects.using(alias).filter(result_id=result.result_id).update(**values)
    return result


@pytest.mark.parametrize("status", ["READY", "WAITING"])
def test_what_has_not_started_is_cancelled(alias, status):
    result = make(alias, status=status)
    assert result.cancel() == Cancellation.CANCELLED == "cancelled"
    run = row(alias, result)
    assert (run.status, run.cancel_requested, run.last_error) == (
        "CANCELLED",
        False,
        "the run was cancelled",
    )
    assert run.finished_at >= run.enqueued_at
    result.refresh()
    assert [error.exception_class for error in result.errors] == [TaskCancelled]
    assert result.cancel() == Cancellation.CANCELLED, "as it was"
    assert row(alias, result).updated_at == run.updated_at


def test_what_runs_is_asked(alias):
    result = make(alias, status="RUNNING", leased_by="w")
    assert result.cancel() == Cancellation.REQUESTED
    assert result.cancel() == Cancellation.REQUESTED
    run = row(alias, result)
    assert (run.status, run.cancel_requested, run.leased_by, run.errors_json) == ("RUNNING", True, "w", [])


@pytest.mark.parametrize("status", ["SUCCESSFUL", "FAILED"])
def test_what_has_ended_stays(alias, status):
    result = make(alias, status=status)
    before = row(alias, result)
    assert result.cancel() == Cancellation.ENDED
    after = row(alias, result)
    assert (after.status, after.updated_at, after.errors_json) == (status, before.updated_at, [])


def test_a_run_that_has_been_pruned_cannot_be_cancelled(alias):
    result = tasks.noop.enqueue()
    TaskRun.objects.using(alias).all().delete()
    with pytest.raises(TaskResultDoesNotExist, match=str(result.id)):
        result.cancel()


def test_many_at_once_are_told_apart(alias):
    ready, running, done = make(alias), make(alias, status="RUNNING"), make(alias, status="SUCCESSFUL")
    ids = [done.result_id, ready.result_id, running.result_id, 2**40, ready.result_id]
    assert cancel_runs(alias, ids) == {
        ready.result_id: Cancellation.CANCELLED,
        running.result_id: Cancellation.REQUESTED,
        done.result_id: Cancellation.ENDED,
    }
    assert cancel_runs(alias, []) == {}


@committed
def test_a_transaction_that_is_rolled_back_cancels_nothing(alias):
    result = tasks.noop.enqueue()
    with transaction.atomic(using=alias):
        assert result.cancel() == Cancellation.CANCELLED
        transaction.set_rollback(True, using=alias)
    assert row(alias, result).status == "READY"


@committed
def test_a_run_that_the_same_transaction_has_enqueued(alias):
    with transaction.atomic(using=alias):
        result = tasks.noop.enqueue()
        assert result.cancel() == Cancellation.CANCELLED
    assert row(alias, result).status == "CANCELLED"


@committed
def test_from_a_coroutine(alias):
    result = tasks.noop.enqueue()
    assert async_to_sync(result.acancel)() == Cancellation.CANCELLED
