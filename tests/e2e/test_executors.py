"""Processes: whoever is stopped is gone, and no run pays for a process that failed it."""

import os
import resource
import signal
import sys
import uuid
from pathlib import Path

import pytest
from harness import Site, Worker, alive, until

from testapp import tasks

#: None of this depends on the database.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

MODES = ("pool", "process")
#: More than a socket holds.
LARGE = "x" * 800_000


def zygote(worker: Worker) -> int:
    (pid,) = worker.zygotes()
    return pid


def witnessed_pids(site: Site) -> set[int]:
    return {int(line.split()[1]) for line in site.lines("pid")}


def kill_children(worker: Worker) -> None:
    killed = worker.children()
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(killed), what="the children die")


def succeeded_at_once(site: Site) -> None:
    site.ended()
    for run in site.runs():
        assert (run.status, run.attempts, run.crash_count, run.errors_json) == ("SUCCESSFUL", 1, 0, [])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("why", ["timeout", "cancel", "lost", "hurry"])
def test_a_stopped_attempt_is_gone_with_all_that_it_has_started(site: Site, mode: str, why: str) -> None:
    lingering = tasks.linger_beyond_timeout if why == "timeout" else tasks.linger
    result = lingering.enqueue(3)
    # Without a grace: test_cancel.py shows what a task does with one.
    flags = ("--executor-mode", mode, "--heartbeat-seconds", "1", "--cancel-grace", "0")
    with site.worker(*flags) as worker:
        until(lambda: site.lines("start"), what="the task starts")
        pids = witnessed_pids(site)
        assert len(pids) == 2
        status = {"timeout": "FAILED", "cancel": "CANCELLED", "lost": "RUNNING", "hurry": "READY"}[why]
        if why == "cancel":
            site.runs().update(cancel_requested=True)
        elif why == "lost":
            # As if another worker had taken it over.
            site.runs().update(epoch=7, incarnation=uuid.uuid4())
            until(lambda: "lease lost" in worker.said, what="the loss is noticed")
        elif why == "hurry":
            worker.signal(signal.SIGTERM)
            until(lambda: "stopping" in worker.said, what="the worker hears the signal")
            worker.signal(signal.SIGTERM)
        until(lambda: site.run(result).status == status, what=f"the run is {status}")
        if why == "lost":
            # Nothing is written then: the log is all there is to go by, and the dead take their time.
            until(lambda: not alive(pids), what="its processes are gone")
        # Whoever sees the run's end may start it again: the processes were gone before.
        assert not alive(pids)
    assert not site.lines("late")


@pytest.mark.parametrize("mode", MODES)
def test_what_a_crashed_task_has_started_goes_with_it(site: Site, mode: str) -> None:
    result = tasks.exit_beside_a_process.enqueue(60)
    with site.worker("--executor-mode", mode, "--concurrency", "1"):
        following = tasks.add.enqueue(1, 1)
        site.ended()
        until(lambda: not alive(witnessed_pids(site)), seconds=2, what="the other process is killed")
    assert (site.run(result).status, site.run(following).status) == ("FAILED", "SUCCESSFUL")
    assert "7" in site.run(result).last_error
    assert len(site.lines("pid")) == 2


@pytest.mark.parametrize("frozen", [False, True])
def test_children_that_died_while_idle_cost_no_run_anything(site: Site, frozen: bool) -> None:
    with site.worker("--concurrency", "4") as worker:
        for _ in range(2):
            for _ in range(8):
                tasks.size_at_once.enqueue("warm")
            site.ended()
            assert worker.children()
            if frozen:
                # Their deaths and the work are seen at once.
                worker.signal(signal.SIGSTOP)
            kill_children(worker)
            for _ in range(8):
                tasks.size_at_once.enqueue("after")
            worker.signal(signal.SIGCONT)
            succeeded_at_once(site)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_zygote_that_died_costs_no_run_anything(site: Site, frozen: bool) -> None:
    with site.worker("--concurrency", "4") as worker:
        tasks.size_at_once.enqueue("warm")
        site.ended()
        family = worker.family() - {worker.guard()}
        if frozen:
            worker.signal(signal.SIGSTOP)
        os.kill(zygote(worker), signal.SIGKILL)
        until(lambda: not alive(family), what="its children die with it")
        for _ in range(8):
            tasks.size_at_once.enqueue("after")
        worker.signal(signal.SIGCONT)
        succeeded_at_once(site)


def fake_python(site: Site) -> Path:
    """An interpreter that does not begin while there is a file ``hang``."""
    python = site.folder / "python"
    hang = site.folder / "hang"
    python.write_text(f'#!/bin/sh\nwhile [ -e {hang} ]; do sleep 0.1; done\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def stop_children(worker: Worker) -> None:
    """The children still run for the worker, and read nothing."""
    until(worker.children, what="children are forked ahead")
    for pid in worker.children():
        os.kill(pid, signal.SIGSTOP)


def test_a_child_that_does_not_read_costs_no_run_anything(site: Site) -> None:
    with site.worker("--concurrency", "1") as worker:
        stop_children(worker)
        tasks.size_at_once.enqueue(LARGE)
        until(lambda: "does not read" in worker.said, seconds=8, what="the timeout covers the sending")
        succeeded_at_once(site)


def test_a_run_can_be_cancelled_while_it_is_sent(site: Site) -> None:
    with site.worker("--concurrency", "1", "--heartbeat-seconds", "1") as worker:
        stop_children(worker)
        result = tasks.size_of.enqueue(LARGE)
        until(lambda: site.run(result).status == "RUNNING", what="the run is claimed")
        site.runs().update(cancel_requested=True)
        until(lambda: site.run(result).status == "CANCELLED", seconds=5, what="the run is cancelled")


@pytest.mark.parametrize("signals", [1, 2])
def test_a_child_that_does_not_read_keeps_no_worker(site: Site, signals: int) -> None:
    grace = "2s" if signals == 1 else "60s"
    with site.worker("--concurrency", "1", "--shutdown-timeout", grace) as worker:
        stop_children(worker)
        result = tasks.size_of.enqueue(LARGE)
        until(lambda: site.run(result).status == "RUNNING", what="the run is claimed")
        for _ in range(signals):
            worker.signal(signal.SIGTERM)
            until(lambda: "stopping" in worker.said, what="the worker hears the signal")
        assert worker.exit_code(seconds=8) == 0
    run = site.run(result)
    assert (run.status, run.attempts) == ("READY", 0)


def test_a_zygote_that_is_being_started_keeps_no_worker(site: Site) -> None:
    """Its import takes for ever; the runs that wait for it go back, and it dies."""
    hang = site.folder / "hang"
    python = fake_python(site)
    with site.worker("--concurrency", "3", REPROQ_PYTHON_BIN=str(python)) as worker:
        family = until(worker.zygotes, what="the zygote is there") | worker.children()
        hang.touch()
        os.kill(zygote(worker), signal.SIGKILL)
        until(lambda: not alive(family), what="its children die with it")
        for number in range(5):
            tasks.mark.enqueue(number)
        until(lambda: site.runs(status="RUNNING").count() == 3, what="the slots are busy")
        family = until(worker.zygotes, what="the next zygote starts")
        for _ in range(2):
            worker.signal(signal.SIGTERM)
            until(lambda: "stopping" in worker.said, what="the worker hears the signal")
        assert worker.exit_code(seconds=8) == 0
        until(lambda: not alive(family), seconds=2, what="the next zygote dies")
    assert {(run.status, run.attempts) for run in site.runs()} == {("READY", 0)}


def test_a_fork_that_fails_is_tried_again_with_the_same_zygote(site: Site) -> None:
    with site.worker("--concurrency", "1") as worker:
        until(worker.children, what="a child is forked ahead")
        before = zygote(worker)
        limits = resource.prlimit(before, resource.RLIMIT_NOFILE)
        opened = len(list(Path(f"/proc/{before}/fd").iterdir()))
        resource.prlimit(before, resource.RLIMIT_NOFILE, (opened, limits[1]))
        kill_children(worker)
        tasks.size_at_once.enqueue("x")
        until(lambda: "giving the run back" in worker.said, what="the fork fails")
        resource.prlimit(before, resource.RLIMIT_NOFILE, limits)
        succeeded_at_once(site)
        assert zygote(worker) == before


def test_a_zygote_that_hangs_is_replaced_and_its_children_go_on(site: Site) -> None:
    with site.worker("--concurrency", "2") as worker:
        until(lambda: len(worker.children()) == 2, what="children are forked ahead")
        busy = tasks.sleep_and_mark.enqueue(1, 20)
        until(lambda: site.lines("start"), what="the task starts")
        old = zygote(worker)
        os.kill(old, signal.SIGSTOP)
        idle = worker.children() - {int(pid) for pid in worker.children() if is_asleep_in_task(pid)}
        for pid in idle:
            os.kill(pid, signal.SIGKILL)
        other = tasks.size_at_once.enqueue("x")
        until(lambda: site.run(other).status == "SUCCESSFUL", what="another zygote has forked a child")
        assert site.run(busy).status == "RUNNING"
        succeeded_at_once(site)
        family = worker.family()
        assert old in family
        worker.signal(signal.SIGTERM)
        assert worker.exit_code(seconds=20) == 0
        assert not alive(family)


def is_asleep_in_task(pid: int) -> bool:
    """Whether the child sleeps in the task, and does not wait for one."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()


@pytest.mark.parametrize("task", [tasks.leave_a_thread, tasks.leave_a_fork])
def test_a_thread_that_goes_on_does_not_undo_the_end_of_its_task(site: Site, task: tasks.task) -> None:
    result = task.enqueue(60)
    with site.worker("--executor-mode", "process", "--concurrency", "1"):
        following = tasks.add.enqueue(1, 1)
        succeeded_at_once(site)
        pids = witnessed_pids(site)
        until(lambda: not alive(pids), seconds=4, what="its process ends")
    result.refresh()
    following.refresh()
    assert (result.return_value, following.return_value) == ("returned", 2)
    assert len(site.lines("pid")) == 1


def test_a_process_that_cannot_be_started_costs_no_run_anything(site: Site) -> None:
    python = fake_python(site)
    with site.worker("--executor-mode", "process", REPROQ_PYTHON_BIN=str(python)) as worker:
        python.chmod(0o644)
        tasks.size_at_once.enqueue("x")
        until(lambda: "giving the run back" in worker.said, what="the start fails")
        python.chmod(0o755)
        succeeded_at_once(site)
