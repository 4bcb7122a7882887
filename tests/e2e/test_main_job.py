"""The straight line: enqueue, claim, run, finish, read the result."""

from contextlib import ExitStack
from datetime import timedelta

from django.db import transaction
from django.tasks import TaskResultStatus, task_backends
from django.utils import timezone
from harness import ALIAS, Site, until

from testapp import tasks


def test_sync_async_and_context_tasks_return_what_they_return(site: Site) -> None:
    with site.worker():
        results = [tasks.add.enqueue(1, 2), tasks.add_async.enqueue(3, 4), tasks.with_context.enqueue(step=7)]
        for result in results:
            result.wait(timeout=30, poll_interval=0.02)
    assert [result.return_value for result in results[:2]] == [3, 7]
    assert results[2].return_value == {"id": results[2].id, "attempt": 1, "queue": "default"}
    assert results[2].metadata == {"step": 7}
    assert results[2].worker_ids == ["worker-0"]


def test_ten_thousand_bulk_enqueued_tasks_run_once_each(site: Site) -> None:
    count, workers = 10_000, 3 if site.is_postgres else 1
    with ExitStack() as running:
        for _ in range(workers):
            running.enter_context(site.worker())
        results = task_backends["default"].bulk_enqueue(
            [(tasks.mark, (number,), {}) for number in range(count)]
        )
        site.ended(seconds=180)
    assert [result.args for result in results[:3]] == [[0], [1], [2]]
    assert sorted(int(line.split()[1]) for line in site.lines("mark")) == list(range(count))
    assert site.runs(status="SUCCESSFUL", attempts=1).count() == count
    if site.is_postgres:
        assert len(set(site.runs().values_list("worker_ids__0", flat=True))) == workers


def test_arguments_of_all_kinds_come_back_as_they_went(site: Site) -> None:
    values = [1e20, -0.0, 10**30, "žluť ☃ \x00 \U0001f600", {"__reproq_type__": "timedelta"}, [[[]]], None]
    with site.worker():
        for value in values:
            result = tasks.echo.enqueue(value).wait(timeout=30, poll_interval=0.02)
            assert (result.return_value, type(result.return_value)) == (value, type(value))


def test_a_scheduled_run_starts_within_fifty_milliseconds_of_its_time(site: Site) -> None:
    with site.worker():
        results = [
            tasks.noop.using(run_after=timezone.now() + timedelta(seconds=1, milliseconds=150 * n)).enqueue(n)
            for n in range(7)
        ]
        site.ended()
    late = sorted(
        (site.run(result).started_at - site.run(result).run_after).total_seconds() for result in results
    )
    assert late[0] >= 0
    # The median: on a busy machine a single one may be late through no fault of the worker's.
    assert late[3] < 0.05, late


def test_a_run_that_fails_is_retried_with_its_own_backoff_until_it_succeeds(site: Site) -> None:
    with site.worker():
        result = tasks.flaky.enqueue(3).wait(timeout=30, poll_interval=0.02)
    assert (result.return_value, result.attempts) == (3, 3)
    assert [error.exception_class for error in result.errors] == [ValueError, ValueError]
    assert "attempt 1 fails" in result.errors[0].traceback
    assert site.lines("flaky") == ["flaky 1", "flaky 2", "flaky 3"]


def test_higher_priority_runs_first(site: Site) -> None:
    for priority in (-5, 100, 0, 5):
        tasks.mark.using(priority=priority).enqueue(priority)
    with site.worker("--concurrency", "1"):
        site.ended()
    assert site.lines() == ["mark 100", "mark 5", "mark 0", "mark -5"]


def test_runs_with_one_lock_never_overlap(site: Site) -> None:
    for number in range(10):
        tasks.sleep_and_mark.enqueue(number, 0.02, lock_key="one")
    with site.worker("--concurrency", "8"):
        site.ended()
    lines = site.lines()
    assert len(lines) == 20
    assert all(
        start.split() == ["start", end.split()[1]] for start, end in zip(lines[::2], lines[1::2], strict=True)
    )


def test_a_concurrency_limit_is_reached_and_not_exceeded(site: Site) -> None:
    for number in range(12):
        tasks.sleep_and_mark.enqueue(number, 0.1, concurrency_key="account", concurrency_limit=3)
    with site.worker("--concurrency", "8"):
        site.ended()
    running, most = 0, 0
    for line in site.lines():
        running += 1 if line.startswith("start") else -1
        most = max(most, running)
    assert most == 3


def test_an_identical_enqueue_joins_the_one_that_waits(site: Site) -> None:
    first, twin = tasks.mark.enqueue(1), tasks.mark.enqueue(1)
    assert (twin.id, twin.duplicate, first.duplicate) == (first.id, True, False)
    with site.worker():
        first.wait(timeout=30, poll_interval=0.02)
        again = tasks.mark.enqueue(1)
        assert not again.duplicate
        site.ended()
    assert site.lines() == ["mark 1", "mark 1"]


def test_an_expired_run_ends_without_having_run(site: Site) -> None:
    result = tasks.mark.enqueue(1)
    site.runs().update(expires_at=timezone.now() - timedelta(seconds=1))
    with site.worker():
        site.ended()
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert result.attempts == 0
    assert result.errors[0].exception_class.__name__ == "TaskExpired"
    assert site.lines() == []


def test_a_task_outside_the_allowed_modules_is_refused(site: Site) -> None:
    result = tasks.mark.enqueue(1)
    with site.worker(ALLOWED_TASK_MODULES="reproq_django"):
        site.ended()
    result.refresh()
    assert result.errors[0].exception_class.__name__ == "TaskNotAllowed"
    assert "--allowed-task-modules" in site.run(result).last_error
    assert site.lines() == []


def test_an_enqueue_that_is_rolled_back_leaves_nothing(site: Site) -> None:
    with site.worker():
        with transaction.atomic(using=ALIAS):
            tasks.mark.enqueue(1)
            transaction.set_rollback(True, using=ALIAS)
        assert site.runs().count() == 0
        with transaction.atomic(using=ALIAS):
            tasks.mark.enqueue(2)
            assert site.runs().count() == 1
        site.ended()
    assert site.runs().count() == 1
    assert site.lines() == ["mark 2"]


def test_an_idle_worker_is_woken_by_an_enqueue(site: Site) -> None:
    """Polling alone would take five seconds at least: it is set so."""
    config = site.folder / "reproq.toml"
    config.write_text('[worker]\npoll_min_backoff = "5s"\npoll_max_backoff = "30s"\n')
    with site.worker():
        for number in range(5):
            tasks.mark.enqueue(number)
            until(lambda number=number: len(site.lines()) > number, seconds=4, what="the worker wakes up")


def test_several_queues_are_served_and_others_are_not(site: Site) -> None:
    tasks.mark.using(queue_name="mail").enqueue(1)
    other = tasks.mark.using(queue_name="default").enqueue(2)
    with site.worker("--queues", "mail"):
        until(lambda: site.lines(), what="the queue is served")
    assert site.lines() == ["mark 1"]
    assert site.run(other).status == "READY"
