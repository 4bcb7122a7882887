"""A cancelled run never starts; one that runs stops soon, its own way if it can."""

import time
from typing import Any

import pytest
from django.db import connections, transaction
from harness import ALIAS, Site, alive, until

from reproq_django.cancellation import Cancellation, cancel_runs
from reproq_django.errors import TaskCancelled
from testapp import tasks

MODES = ("pool", "process")


def started(site: Site, count: int = 1) -> set[int]:
    """The processes of the tasks, as soon as all run."""
    until(lambda: len(site.lines("start")) == count, what="the task starts")
    return {int(line.split()[1]) for line in site.lines("pid")}


def cancelled(site: Site, result: Any, *, seconds: float) -> float:
    """Wait for the run to be CANCELLED; how long that took."""
    since = time.monotonic()
    until(lambda: site.run(result).status != "RUNNING", seconds=30, what="the run ends")
    took = time.monotonic() - since
    run = site.run(result)
    assert (run.status, run.cancel_requested, run.attempts) == ("CANCELLED", False, 1), run.errors_json
    assert (run.leased_by, run.incarnation) == (None, None)
    assert run.finished_at is not None
    assert run.failed_at is None
    assert took < seconds
    return took


@pytest.mark.parametrize(
    ("task", "asks"),
    # Coroutines have a process of their own.
    [(tasks.stoppable, tasks.process_id), (tasks.stoppable_async, tasks.process_id_async)],
)
def test_a_running_task_cleans_up_and_its_process_goes_on(site: Site, task: Any, asks: Any) -> None:
    with site.worker("--concurrency", "1"):
        for _ in range(2):
            result = task.enqueue(60)
            (pid,) = started(site)
            assert result.cancel() == Cancellation.REQUESTED
            cancelled(site, result, seconds=2)
            assert [line for line in site.lines() if "pid" not in line] == ["start", "cleaned"]
            following = asks.enqueue().wait(timeout=30, poll_interval=0.02)
            assert following.return_value == pid
            site.witness.unlink()
    result.refresh()
    assert [error.exception_class for error in result.errors] == [TaskCancelled]
    assert f"in {task.name}" in result.errors[0].traceback
    assert site.run(result).last_error == "the run was cancelled"
    assert result.cancel() == Cancellation.CANCELLED


def test_a_process_of_its_own_is_asked_too(site: Site) -> None:
    with site.worker("--concurrency", "1", "--executor-mode", "process"):
        result = tasks.stoppable.enqueue(60)
        pids = started(site)
        result.cancel()
        cancelled(site, result, seconds=3)
        assert site.lines("cleaned")
        until(lambda: not alive(pids), seconds=4, what="the process ends")


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_a_query_is_cut_off_and_the_next_run_has_a_database(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        pid = tasks.process_id.enqueue().wait(timeout=30, poll_interval=0.02).return_value
        result = tasks.sleep_in_the_database.enqueue(60)
        started(site)
        result.cancel()
        cancelled(site, result, seconds=2)
        following = tasks.queries_of.enqueue("pg_sleep").wait(timeout=30, poll_interval=0.02)
        assert following.return_value == [pid, 0]


@pytest.mark.parametrize("mode", MODES)
def test_a_task_that_takes_no_hint_is_killed_with_all_that_it_has_started(site: Site, mode: str) -> None:
    with site.worker("--concurrency", "1", "--executor-mode", mode, "--cancel-grace", "1s"):
        result = tasks.stubborn.enqueue(60)
        pids = started(site)
        result.cancel()
        assert cancelled(site, result, seconds=4) > 0.9
        assert not alive(pids)
        assert site.lines("hint") == ["hint"], "it was asked once, however often the signal came"
        assert tasks.add.enqueue(1, 1).wait(timeout=30, poll_interval=0.02).return_value == 2


def test_without_a_grace_a_task_is_killed_at_once(site: Site) -> None:
    with site.worker("--concurrency", "1", "--cancel-grace", "0"):
        result = tasks.stoppable.enqueue(60)
        pids = started(site)
        result.cancel()
        cancelled(site, result, seconds=2)
        assert not alive(pids)
        assert not site.lines("cleaned")


def test_an_announced_cancellation_waits_for_no_look(site: Site) -> None:
    """Looks come once a second: each of these, right after one, would have to wait for the next."""
    with site.worker("--concurrency", "8"):
        results = [tasks.stoppable.enqueue(60 + number) for number in range(8)]
        started(site, len(results))
        since = time.monotonic()
        for result in results:
            result.cancel()
            cancelled(site, result, seconds=2)
        assert time.monotonic() - since < 4


def test_a_cancellation_that_nobody_announces_is_found(site: Site) -> None:
    with site.worker("--concurrency", "1", "--heartbeat-seconds", "5"):
        # The last wake-up is long over.
        result = tasks.stoppable.enqueue(60)
        started(site)
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("UPDATE task_runs SET cancel_requested = TRUE")
        cancelled(site, result, seconds=2.5)


def test_a_task_that_ends_well_has_won(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        result = tasks.stop_early.enqueue(60)
        started(site)
        result.cancel()
        site.ended()
        result.refresh()
        assert (result.raw_status, result.return_value) == ("SUCCESSFUL", "early")
        assert not site.run(result).cancel_requested
        assert result.cancel() == Cancellation.ENDED


def test_a_task_that_fails_over_it_is_not_tried_again(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        result = tasks.fail_when_stopped.enqueue(60)
        started(site)
        result.cancel()
        cancelled(site, result, seconds=2)
        assert len(site.lines("start")) == 1
        assert "cannot stop" in site.run(result).last_error


def test_what_waits_is_cancelled_at_once_and_never_runs(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        retrying = tasks.fail_and_wait.enqueue()
        until(lambda: site.run(retrying).errors_json, what="the first attempt fails")
    due = tasks.mark.using(run_after=retrying.enqueued_at).enqueue(1)
    ready = tasks.mark.enqueue(2)
    stays = tasks.mark.enqueue(3)
    for result in (retrying, due, ready):
        assert result.cancel() == Cancellation.CANCELLED
        assert site.run(result).status == "CANCELLED"
    with site.worker("--concurrency", "1"):
        site.ended()
    assert site.lines() == ["mark 3"]
    assert site.run(stays).status == "SUCCESSFUL"
    assert [entry["kind"] for entry in site.run(retrying).errors_json] == ["app_error", "cancelled"]


def test_in_a_transaction_that_is_rolled_back_nothing_is_cancelled(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        result = tasks.stoppable.enqueue(1.5)
        started(site)
        with transaction.atomic(using=ALIAS):
            assert result.cancel() == Cancellation.REQUESTED
            transaction.set_rollback(True, using=ALIAS)
        site.ended()
    assert site.run(result).status == "SUCCESSFUL"


@pytest.mark.parametrize("together", [False, True])
def test_runs_that_wait_inside_the_worker_are_cancelled_too(site: Site, together: bool) -> None:
    """For a slot; or in the child: short tasks are sent together, and nothing tells which will not end."""
    with site.worker("--concurrency", "1", REPROQ_LOG="info"):
        until(lambda: runs_have_waited_inside(site, together), what="runs wait inside the worker")
        assert tasks.add.enqueue(1, 1).wait(timeout=30, poll_interval=0.02).return_value == 2


def runs_have_waited_inside(site: Site, together: bool) -> bool:
    with transaction.atomic(using=ALIAS):
        for number in range(300):
            tasks.turn_slow.enqueue(number, 0)
    site.ended()
    slow = tasks.turn_slow if together else tasks.turn_slow_too
    with transaction.atomic(using=ALIAS):
        results = [slow.enqueue(number, 60) for number in range(20)]
    started(site)
    inside = site.runs(status="RUNNING").count()
    cancel_runs(ALIAS, [result.result_id for result in results])
    site.ended(seconds=8)
    assert {site.run(result).status for result in results} == {"CANCELLED"}
    assert not site.lines("end")
    assert len(site.lines("start")) == 1
    site.witness.unlink()
    # A machine that is busy with something else makes the worker fetch one by one.
    return inside > 2
