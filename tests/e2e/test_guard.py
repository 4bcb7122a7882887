"""Whatever ends a worker, nothing of what it runs is left, and no run is ever in two places.

REPROQ_REPEAT says how often the tests of many repetitions repeat: 200 kills, 100 stops and 100 restarts are
what a release has to stand.
"""

import os
import resource
import signal
import time
from collections import defaultdict
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from harness import Marked, Site, alive, until

from testapp import tasks

REPEAT = int(os.environ.get("REPROQ_REPEAT", "0"))
MODES = ("pool", "fork", "process")
#: A lease that nobody can have waited for when things go on within seconds.
LONG_LEASE = ("--lease-seconds", "60", "--heartbeat-seconds", "5")
SHORT_LEASE = ("--lease-seconds", "5", "--heartbeat-seconds", "1", "--reclaim-interval-seconds", "1")

only_one_database = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)


def test_a_killed_worker_leaves_nothing_and_its_runs_go_on_at_once(site: Site) -> None:
    """A lease of a minute: they go on because the others of the machine know that it is gone."""
    kills = REPEAT or 3
    with ExitStack() as stack:

        def start() -> Marked:
            return Marked(site, stack, "--concurrency", "4" if site.is_postgres else "8", *LONG_LEASE)

        running, interrupted = [start() for _ in range(2 if site.is_postgres else 1)], 0
        for kill in range(kills):
            numbers = range(8 * kill, 8 * kill + 8)
            for number in numbers:
                tasks.roam.enqueue(number, 0.5)
            victim = running.pop(0)
            name = f"worker-{site.workers.index(victim.worker)}"
            until(lambda numbers=numbers: all(site.lines(f"start {number} ") for number in numbers))
            victim.kill()
            killed_at = time.monotonic()
            owned = list(site.runs(status="RUNNING", leased_by=name).values_list("pk", "epoch"))
            interrupted += len(owned)
            until(lambda victim=victim: not victim.left(), seconds=1, what="its processes die")
            running.append(start())
            if not site.is_postgres:
                # There is nobody else before the restarted one is up.
                killed_at = time.monotonic()
            for pk, epoch in owned:
                # Or its ending was on its way to the database when the worker was killed.
                again = site.runs(pk=pk).exclude(epoch=epoch, status="RUNNING")
                until(again.exists, what="it runs again")
            assert time.monotonic() - killed_at < 2
        site.ended(seconds=120)
        for marked in running:
            marked.worker.end()
            assert not marked.left()
    assert interrupted >= kills
    assert site.runs(status="SUCCESSFUL").count() == 8 * kills
    assert len(set(site.lines("end"))) == 8 * kills
    for run in site.runs(attempts__gt=1):
        assert {entry["message"] for entry in run.errors_json} == {
            "the worker was killed, and its processes with it"
        }
    no_two_at_once(site)


def no_two_at_once(site: Site) -> None:
    """Each run's executions, daemons included, follow upon each other."""
    executions: dict[str, list[list[str]]] = defaultdict(list)
    for line in site.lines():
        what, number, *rest = line.split()
        if what == "start":
            executions[number].append([])
        elif what == "tick":
            executions[number][-1].append(rest[0])
    for number, pids in executions.items():
        for before, after in pairwise(pids):
            assert not set(before) & set(after), f"two executions of {number} at once"


def test_a_worker_that_is_stopped_beyond_its_lease_runs_nothing_beyond_it(site: Site) -> None:
    """Its guard kills what it runs. Another worker takes over then, or it goes on itself when it wakes."""
    for stop in range(REPEAT or 1):
        with ExitStack() as stack:
            stopped = Marked(site, stack, "--concurrency", "6", *SHORT_LEASE)
            numbers = range(6 * stop, 6 * stop + 6)
            results = [tasks.roam.enqueue(number, 1.5) for number in numbers]
            until(lambda numbers=numbers: all(site.lines(f"start {number} ") for number in numbers))
            stopped.worker.signal(signal.SIGSTOP)
            stopped_at = time.monotonic()
            if site.is_postgres:
                stack.enter_context(site.worker("--concurrency", "6", *SHORT_LEASE))
            guard = {stopped.worker.guard()}
            until(lambda guard=guard, stopped=stopped: stopped.left() == guard, seconds=6, what="all die")
            assert time.monotonic() - stopped_at < 5, "that was beyond the lease"
            until(lambda at=stopped_at: time.monotonic() - at > 10, what="twice the lease")
            stopped.worker.signal(signal.SIGCONT)
            site.ended()
            until(lambda stopped=stopped: "its guard has killed" in stopped.worker.said, what="it finds out")
            for result in results:
                run = site.run(result)
                assert run.status == "SUCCESSFUL"
                assert run.crash_count == 0
    no_two_at_once(site)


@only_one_database
@pytest.mark.parametrize("mode", MODES)
def test_a_worker_outlives_its_guard(site: Site, mode: str) -> None:
    with ExitStack() as stack:
        marked = Marked(site, stack, "--executor-mode", mode, "--concurrency", "2")
        results = [tasks.roam.using(backoff=0).enqueue(number, 1.5) for number in range(2)]
        until(lambda: len(site.lines("start")) == 2, what="both start")
        before = marked.left()
        os.kill(marked.worker.guard(), signal.SIGKILL)
        until(lambda: not alive(before), seconds=2, what="all that was below the guard dies")
        site.ended()
        assert {site.run(result).status for result in results} == {"SUCCESSFUL"}
        assert all(site.run(result).crash_count <= 1 for result in results)
        assert marked.worker.process.poll() is None
        assert marked.worker.guard() not in before
    no_two_at_once(site)


def ignores(pid: int, number: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (mask,) = (line.split()[1] for line in status if line.startswith("SigIgn"))
    return bool(int(mask, 16) & (1 << (number - 1)))


@only_one_database
@pytest.mark.parametrize("mode", MODES)
def test_a_guard_hears_no_signal_and_what_it_starts_does(site: Site, mode: str) -> None:
    with site.worker("--executor-mode", mode, "--concurrency", "1") as worker:
        running = tasks.roam.enqueue(1, 1)
        until(lambda: site.lines("start"), what="it starts")
        guard, below = worker.guard(), worker.family()
        asks = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1)
        assert not any(ignores(pid, number) for pid in below for number in asks)
        for number in asks:
            os.kill(guard, number)
        site.ended()
        assert (site.run(running).attempts, worker.guard()) == (1, guard)


def ticks(site: Site) -> list[int]:
    """The moments at which something has said that it runs."""
    return [int(line.split()[3]) for line in site.lines("tick")]


def silent(site: Site, since: int) -> None:
    """Nothing has said that it runs after ``since``, and for a while nothing does."""
    until(lambda: time.monotonic_ns() - since > 300_000_000)
    assert max(ticks(site)) <= since


@only_one_database
@pytest.mark.parametrize("kind", ["daemon", "hopper"])
@pytest.mark.parametrize("mode", MODES)
def test_what_a_task_leaves_behind_goes_with_its_process(site: Site, mode: str, kind: str) -> None:
    with ExitStack() as stack:
        marked = Marked(site, stack, "--executor-mode", mode, "--concurrency", "1")
        result = tasks.leave_a_daemon.enqueue(kind)
        site.ended()
        result.refresh()
        if mode == "pool":
            for pid in marked.worker.children() & {result.return_value}:
                os.kill(pid, signal.SIGKILL)
        until(lambda: not alive({result.return_value}), what="its process ends")
        ended = time.monotonic_ns()
        until(lambda: time.monotonic_ns() - max(ticks(site)) > 300_000_000, seconds=2, what="that ends, too")
        assert max(ticks(site)) - ended < 1_000_000_000


@only_one_database
@pytest.mark.parametrize("mode", MODES)
def test_a_stopped_run_is_gone_before_its_end_is_known(site: Site, mode: str) -> None:
    with site.worker("--executor-mode", mode, "--cancel-grace", "0"):
        result = tasks.hop_away.enqueue(30)
        until(lambda: site.lines("start") and ticks(site), what="it starts, and what it leaves behind")
        result.cancel()
        until(lambda: site.run(result).status == "CANCELLED", what="it is cancelled")
        silent(site, time.monotonic_ns())


@only_one_database
@pytest.mark.parametrize("mode", MODES)
def test_a_daemon_serves_its_task_as_long_as_that_runs(site: Site, mode: str) -> None:
    with site.worker("--executor-mode", mode):
        result = tasks.rely_on_a_daemon.enqueue(2)
        assert result.wait(timeout=30).return_value < 0.5, "seconds since the daemon's last word"


@only_one_database
@pytest.mark.parametrize("mode", MODES)
def test_a_task_that_kills_its_parent_harms_itself(site: Site, mode: str) -> None:
    with site.worker("--executor-mode", mode, "--concurrency", "1") as worker:
        killer = tasks.kill_the_parent.enqueue()
        following = tasks.add.enqueue(1, 1)
        assert following.wait(timeout=30).return_value == 2
        assert worker.process.poll() is None
    assert site.run(killer).status == "FAILED"


@only_one_database
@pytest.mark.parametrize("mode", MODES)
def test_what_runs_is_more_expendable_than_the_worker_and_dumps_no_core(site: Site, mode: str) -> None:
    def score(pid: int) -> int:
        return int(Path(f"/proc/{pid}/oom_score_adj").read_text())

    with site.worker("--executor-mode", mode, "--concurrency", "1") as worker:
        tasks.sleep_and_mark.enqueue(1, 1)
        until(lambda: site.lines("start"), what="it starts")
        guard, own = worker.guard(), score(worker.process.pid)
        below = worker.family() - {guard}
        assert below
        assert {score(pid) for pid in below} == {min(own + 300, 1000)}
        assert score(guard) == own
        assert {resource.prlimit(pid, resource.RLIMIT_CORE)[0] for pid in below} == {0}


@only_one_database
def test_a_worker_leaves_word_only_when_it_is_killed(site: Site) -> None:
    def words() -> set[str]:
        return {path.name for path in site.folder.glob("reproq-*/*/*")}

    here = {"XDG_RUNTIME_DIR": str(site.folder)}
    with site.worker(**here):
        assert len(words()) == 1
    assert not words()
    with site.worker(**here) as worker:
        worker.signal(signal.SIGKILL)
        worker.exit_code()
    left = words()
    assert len(left) == 1
    with site.worker(**here):
        assert len(words()) == 1
        assert words() != left, "the dead one has been seen to"
    assert not words()


@only_one_database
def test_a_worker_that_cannot_leave_word_works(site: Site) -> None:
    (site.folder / f"reproq-{os.geteuid()}").write_text("in the way")
    with site.worker(XDG_RUNTIME_DIR=str(site.folder)) as worker:
        assert tasks.add.enqueue(1, 1).wait(timeout=30).return_value == 2
        assert "have to wait for the end of its leases" in worker.said


def test_rolling_restarts_cost_no_run_an_attempt(site: Site) -> None:
    restarts, grace = REPEAT or 4, 1
    flags = ("--concurrency", "4", "--shutdown-timeout", f"{grace}s")
    with ExitStack() as stack:

        def start() -> Marked:
            return Marked(site, stack, *flags)

        running = [start() for _ in range(2 if site.is_postgres else 1)]
        for restart in range(restarts):
            for number in range(8):
                # Half of them do not end within the grace.
                tasks.roam.enqueue(8 * restart + number, 0.2 if number % 2 else 2.5)
            until(lambda restart=restart: site.lines(f"start {8 * restart} "), what="work begins")
            leaving = running.pop(0)
            leaving.worker.signal(signal.SIGTERM)
            asked_at = time.monotonic()
            assert leaving.worker.exit_code() == 0
            assert time.monotonic() - asked_at < grace + 2
            assert not leaving.left()
            running.append(start())
        site.ended(seconds=120)
    assert site.runs(status="SUCCESSFUL", attempts=1, errors_json=[]).count() == 8 * restarts
    no_two_at_once(site)
