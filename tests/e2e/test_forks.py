"""Many forks: each has its sockets to itself, none is left unreaped; and a leak stays within its bounds.

REPROQ_FORKS says how many; 10,000 are what a release has to stand.
"""

import os
import platform
import time
from contextlib import suppress
from pathlib import Path

import pytest
from harness import Site, Worker, until

from testapp import looks

FORKS = int(os.environ.get("REPROQ_FORKS", "300"))
#: Enqueued and looked at together.
BATCH = 100
MIB = 1024 * 1024


def sockets(pid: int) -> set[str]:
    """The sockets that a process has open, by their numbers: the two ends of a pair have two."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed while we looked
            found.add(os.readlink(descriptor))
    return {link for link in found if link.startswith("socket:")}


def test_forks_share_no_socket_and_are_reaped(site: Site) -> None:
    with site.worker("--concurrency", "4", "--executor-mode", "fork") as worker:
        began, pids, seen = time.monotonic(), 0, set()
        for _ in range(0, FORKS, BATCH):
            results = [looks.says_who_it_is.enqueue() for _ in range(BATCH)]
            above = sockets_above(worker)
            site.ended()
            above &= sockets_above(worker)
            runs = list(site.runs(pk__in=[result.result_id for result in results]))
            assert {(run.status, run.attempts) for run in runs} == {("SUCCESSFUL", 1)}
            pids += len({run.return_json["pid"] for run in runs})
            for run in runs:
                opened = set(run.return_json["sockets"])
                assert opened, "its stream is one"
                assert not opened & above, "the zygote or the worker has it, too"
                # The kernel gives the numbers of its sockets again only after four thousand million of them.
                assert not opened & seen, "another process has had it"
                seen |= opened
            assert not worker.zombies() - worker.children(), "somebody was not reaped"
            site.runs().delete()
        until(lambda: not worker.zombies(), seconds=2, what="all are reaped")
    count = -(-FORKS // BATCH) * BATCH
    assert pids == count, "a process for each"
    print(f"\n{count} forks in {time.monotonic() - began:.0f} s, {len(seen)} sockets, 0 shared, 0 zombies")


def sockets_above(worker: Worker) -> set[str]:
    """Those of the worker, its guard and its zygotes."""
    return set().union(*(sockets(pid) for pid in (worker.process.pid, worker.guard(), *worker.zygotes())))


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_leak_of_every_task_stays_within_its_bound(site: Site) -> None:
    """How fast that is, is the benchmark's to say."""
    growth, pids, largest = 50, set(), 0
    with site.worker("--concurrency", "2", "--max-child-growth-mb", str(growth)) as worker:
        smallest = looks.leaks.enqueue(0).wait(timeout=30, poll_interval=0.02).return_value[1]
        for _ in range(0, FORKS, BATCH):
            for _ in range(BATCH):
                looks.leaks.enqueue(5)
            site.ended()
            for run in site.runs():
                assert (run.status, run.attempts) == ("SUCCESSFUL", 1)
                pids.add(run.return_json[0])
                largest = max(largest, run.return_json[1])
            # It is looked at every 50 ms, and goes on until its successor is there.
            assert largest < smallest + (growth + 200) * MIB
            site.runs().delete()
        assert len(worker.children()) <= 3
    assert len(pids) > 4, "children are replaced"
    print(f"\n{FORKS} times 5 MiB lost: {len(pids)} children, the largest had {largest // MIB} MiB")


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_an_idle_slot_keeps_no_child_beside_its_successor(site: Site) -> None:
    with site.worker("--concurrency", "1", "--max-tasks-per-child", "1") as worker:
        first = looks.says_who_it_is.enqueue().wait(timeout=30, poll_interval=0.02).return_value["pid"]
        until(
            lambda: len(worker.children()) == 1 and first not in worker.children(),
            seconds=5,
            what="the successor is there, and alone",
        )
        second = looks.says_who_it_is.enqueue().wait(timeout=30, poll_interval=0.02).return_value["pid"]
        assert second != first


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("given", [None, "1", ""])
def test_what_the_linker_is_told_for_a_zygote_is_not_for_tasks(
    site: Site, given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_BIND_NOW", raising=False)
    environment = {} if given is None else {"LD_BIND_NOW": given}
    with site.worker("--concurrency", "1", "--executor-mode", "fork", **environment) as worker:
        (zygote,) = worker.zygotes()
        told = Path(f"/proc/{zygote}/environ").read_bytes().split(b"\0")
        expected = "reproq" if given is None else given
        assert f"LD_BIND_NOW={expected}".encode() in told
        found = looks.variable.enqueue("LD_BIND_NOW").wait(timeout=30, poll_interval=0.02)
        assert found.return_value == given


@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere linkers leave them together")
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
@pytest.mark.parametrize("mode", ["fork", "pool"])
def test_where_each_run_has_a_fork_libraries_are_one_mapping_less_for_it_to_copy(
    site: Site, mode: str
) -> None:
    with site.worker("--concurrency", "1", "--executor-mode", mode) as worker:
        looks.variable.enqueue("HOME").wait(timeout=30, poll_interval=0.02)
        (zygote,) = worker.zygotes()
        constants = [
            line
            for line in Path(f"/proc/{zygote}/maps").read_text().splitlines()
            # The first page of the C library's file is none of its code.
            if "/libc.so" in line and line.split()[2] == "00000000"
        ]
        assert ["r-xp" in line for line in constants] == [mode == "fork"]
