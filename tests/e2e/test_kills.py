"""Whatever is killed, nothing is lost and nothing is committed twice."""

import os
import signal
import time

import pytest
from django.db import OperationalError, connections
from harness import ALIAS, Site, alive, forget_connection, until
from tools.postgres import PostgresCluster

from testapp import tasks

#: The shortest lease that the worker accepts, so that recovery need not be waited for.
SHORT_LEASE = ("--lease-seconds", "5", "--heartbeat-seconds", "1", "--reclaim-interval-seconds", "1")


def test_a_killed_workers_runs_run_again_and_no_child_survives(site: Site) -> None:
    for number in range(20):
        tasks.sleep_and_mark.enqueue(number, 3)
    with site.worker("--concurrency", "20", *SHORT_LEASE) as first:
        until(lambda: len(site.lines("start")) == 20, what="all tasks start")
        family = first.family()
        assert len(family) > 20
        first.signal(signal.SIGKILL)
        first.exit_code()
        until(lambda: not alive(family), seconds=5, what="the worker's processes die with it")
    assert site.runs(status="RUNNING").count() == 20
    with site.worker("--concurrency", "20", *SHORT_LEASE):
        site.ended(seconds=60)
    assert sorted(line.split()[1] for line in site.lines("end")) == sorted(
        str(number) for number in range(20)
    )
    for run in site.runs():
        assert (run.status, run.attempts, run.epoch) == ("SUCCESSFUL", 2, 2)
        assert [entry["kind"] for entry in run.errors_json] == ["lease_expiry"]


def test_a_killed_child_costs_one_attempt_and_its_slot_comes_back(site: Site) -> None:
    result = tasks.sleep_and_mark.enqueue(1, 30)
    with site.worker("--concurrency", "1") as worker:
        until(lambda: site.lines("start"), what="the task starts")
        site.runs().update(max_attempts=1)
        for pid in worker.children():
            os.kill(pid, signal.SIGKILL)
        until(lambda: site.run(result).status != "RUNNING", what="the crash is noticed")
        following = tasks.add.enqueue(1, 1).wait(timeout=30, poll_interval=0.02)
    assert following.return_value == 2
    assert "signal 9" in site.run(result).errors_json[0]["message"]


def test_the_first_signal_lets_running_tasks_end(site: Site) -> None:
    running = tasks.sleep_and_mark.enqueue(1, 1)
    with site.worker("--concurrency", "1") as worker:
        until(lambda: site.lines("start"), what="the task starts")
        waiting = tasks.mark.enqueue(2)
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() == 0
    assert (site.run(running).status, site.run(running).attempts) == ("SUCCESSFUL", 1)
    assert (site.run(waiting).status, site.run(waiting).attempts) == ("READY", 0)


@pytest.mark.parametrize("signals", [1, 2])
def test_an_interrupted_task_goes_back_without_having_spent_an_attempt(site: Site, signals: int) -> None:
    """After the grace time, or at the second signal."""
    result = tasks.sleep_and_mark.enqueue(1, 60)
    grace = "1s" if signals == 1 else "60s"
    with site.worker("--shutdown-timeout", grace) as worker:
        until(lambda: site.lines("start"), what="the task starts")
        family = worker.family()
        for _ in range(signals):
            worker.signal(signal.SIGTERM)
            # Two signals at once are one to the kernel.
            until(lambda: "stopping" in worker.said, what="the worker hears the signal")
        assert worker.exit_code(seconds=20) == 0
        assert not alive(family)
    run = site.run(result)
    assert (run.status, run.attempts, run.worker_ids, run.epoch) == ("READY", 0, [], 1)
    assert run.errors_json == []


def test_the_third_signal_does_not_wait(site: Site) -> None:
    tasks.sleep_and_mark.enqueue(1, 60)
    with site.worker("--executor-mode", "pool") as worker:
        until(lambda: site.lines("start"), what="the task starts")
        family = worker.family()
        worker.signal(signal.SIGSTOP)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            worker.signal(number)
        worker.signal(signal.SIGCONT)
        assert worker.exit_code(seconds=20) == 130
        until(lambda: not alive(family), seconds=5, what="its processes die with it")


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_work_goes_on_within_two_seconds_of_a_database_restart(
    site: Site, durable_cluster: PostgresCluster
) -> None:
    cluster = durable_cluster
    with site.worker():
        tasks.mark.enqueue(1).wait(timeout=30, poll_interval=0.02)
        cluster.stop(immediate=True)
        with pytest.raises(OperationalError):
            tasks.mark.enqueue(2)
        cluster.start()
        forget_connection()
        started = time.monotonic()
        tasks.mark.enqueue(3)
        until(lambda: site.lines("mark 3"), what="the worker resumes")
        assert time.monotonic() - started < 2
    assert site.lines() == ["mark 1", "mark 3"]


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_what_ends_while_the_database_is_away_is_recorded_when_it_is_back(
    site: Site, durable_cluster: PostgresCluster
) -> None:
    cluster = durable_cluster
    result = tasks.sleep_and_mark.enqueue(1, 1)
    with site.worker():
        until(lambda: site.lines("start"), what="the task starts")
        cluster.stop(immediate=True)
        until(lambda: site.lines("end"), what="the task ends")
        cluster.start()
        forget_connection()
        site.ended()
    assert (site.run(result).status, site.run(result).attempts, site.run(result).epoch) == (
        "SUCCESSFUL",
        1,
        1,
    )


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_locked_file_makes_an_enqueue_raise_and_the_worker_wait(site: Site) -> None:
    connections[ALIAS].settings_dict["OPTIONS"]["timeout"] = 0.2
    forget_connection()
    other = connections.create_connection(ALIAS)
    with site.worker():
        tasks.mark.enqueue(1).wait(timeout=30, poll_interval=0.02)
        with other.cursor() as cursor:
            cursor.execute("BEGIN EXCLUSIVE")
            with pytest.raises(OperationalError):
                tasks.mark.enqueue(2)
            cursor.execute("COMMIT")
        tasks.mark.enqueue(3)
        site.ended()
    other.close()
    assert site.lines() == ["mark 1", "mark 3"]


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_a_worker_that_was_stopped_beyond_its_lease_writes_nothing(site: Site) -> None:
    """Its run has another owner by then; the epoch tells the two apart."""
    result = tasks.sleep_and_mark.enqueue(1, 2)
    with site.worker("--concurrency", "1", *SHORT_LEASE) as paused:
        until(lambda: site.lines("start"), what="the task starts")
        paused.signal(signal.SIGSTOP)
        with site.worker("--concurrency", "1", *SHORT_LEASE):
            site.ended()
            ended = site.run(result)
            paused.signal(signal.SIGCONT)
            until(
                lambda: "fenced" in paused.said or "lease lost" in paused.said,
                what="the first worker finds out",
            )
    assert (ended.status, ended.attempts, ended.epoch, ended.worker_ids) == (
        "SUCCESSFUL", 2, 2, ["worker-0", "worker-1"],
    )  # fmt: skip
    assert site.run(result).updated_at == ended.updated_at


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_second_worker_on_a_sqlite_file_is_refused(site: Site) -> None:
    with (
        site.worker(),
        pytest.raises(AssertionError, match="a SQLite file has one worker process"),
        site.worker(),
    ):
        pass


def test_a_site_that_cannot_be_imported_is_reported_and_nothing_is_claimed(site: Site) -> None:
    result = tasks.mark.enqueue(1)
    with (
        pytest.raises(AssertionError, match="No module named 'nowhere'"),
        site.worker(DJANGO_SETTINGS_MODULE="nowhere"),
    ):
        pass
    assert site.run(result).status == "READY"
