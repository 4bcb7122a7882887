"""The comparison's floors: what bare processes measure, and how it is told beside costs and targets."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bench import claims
from bench.machine import below, processes
from bench.peers import alone, output
from bench.peers.catalogue import PEERS
from bench.peers.explained import explained
from bench.peers.floors import PLANS, run
from bench.peers.plan import PLANS as COMPARISONS
from bench.peers.plan import in_turn
from bench.peers.targets import targets
from bench.site import BenchError

ROOT = Path(__file__).parent.parent.parent
FIGURES = {
    "drain_per_second": 13_000.0,
    "enqueue_per_second": 1_300.0,
    "bulk_enqueue_per_second": 20_000.0,
    "cpu_ms": 0.140,
    "worker_cpu_ms": 0.087,
    "head_cpu_ms": 0.021,
    "database_cpu_ms": 0.053,
}
TITLES = {"rq": "RQ (a fork per job)"}
ALONE = {"runs": 20_000, "batch": 100, "per_second": 9_000.0}
START = {"committed_ms": [1.0, 1.1], "heard_ms": [1.2, 1.3], "begun_ms": [2.5, 9.0]}
FLOORS = {
    "reproq-pool-postgres": {
        "start": START,
        "bulk": {
            "function": {"us": 23.0, "per_second": 33_000.0},
            "copy": {"us": 10.0, "per_second": 75_000.0},
            "rows": 20_000,
            "rounds": 3,
        },
        "drain": {"server": {"us": 40.0} | ALONE, "child": {"us": 60.0} | ALONE},
    },
    "reproq-fork-postgres": {"fork": {"us": 2_500.0, "forks": 800, "per_second": 700.0}},
}


def about(name, title):
    return {
        "name": name,
        "title": title,
        "stores": "postgres",
        "results": "stored",
        "isolation": "slot",
        "released": "",
        "version": "",
    }


def sample(figures):
    lists = {name: [2.5] for name in ("starts_idle", "starts_loaded", "enqueue_calls")}
    return {"figures": figures, "lost": 0, "repeated": 0, "notes": []} | lists


def comparison(floors=None):
    """What a run has found, and in an earlier one no floors."""
    names = ["reproq-pool-postgres", "reproq-fork-postgres", "rq"]
    found = {
        "plan": "full",
        "began": "2026-01-01T00:00:00Z",
        "machine": {
            "cores": 2,
            "cpu": "a CPU",
            "memory_gib": 4,
            "kernel": "6",
            "git_commit": "c",
            "git_changes": 0,
        },
        "absent": {},
        "peers": [about(name, TITLES.get(name, name)) for name in names],
        "samples": {name: [sample(FIGURES)] for name in names},
        "failures": {},
        "seconds": 100,
    }
    return found if floors is None else found | {"floors": {"by_peer": floors}}


def floors_told(found):
    return [line for line in explained(found) if line.startswith("  floor:")]


def test_each_floor_is_told_beneath_what_it_bounds():
    lines = explained(comparison(FLOORS))
    pool, drain, started, start, bulk, fork, forked, *rest = lines
    assert pool.startswith("reproq-pool-postgres: 140 us of CPU a no-op")
    assert drain.startswith(
        "  floor: server 40 us + child 60 us a no-op = 20,000/s on 2 cores, where its targets take 19,500/s; "
    )
    assert started.startswith("reproq-pool-postgres: a start on an idle worker takes 2.50 ms")
    assert start.startswith("  floor: start 2.50, 9.00 ms: a bare INSERT commits (1.00, 1.10)")
    assert bulk.startswith("  floor: bulk enqueue, the server alone 23 us of CPU a row and 33,000/s")
    assert fork.startswith("reproq-fork-postgres: 140 us")
    assert forked.startswith(
        "  floor: fork 2,500 us of CPU = 800/s on 2 cores, where its targets take 65,000/s, and two"
    )
    assert len(rest) == 1


def test_a_run_from_before_there_were_floors_is_told_as_it_was():
    earlier = comparison()
    assert len(explained(earlier)) == 4
    assert floors_told(earlier) == []
    assert "floor:" not in output.as_text(earlier)


def test_a_floor_that_could_not_be_measured_says_so():
    found = comparison({"reproq-pool-postgres": {"drain": {"failure": "OSError: no cargo\nand more"}}})
    assert floors_told(found) == ["  floor: drain: not measured, OSError: no cargo"]


def test_the_documents_are_written_again_from_the_json(tmp_path):
    found = comparison(FLOORS)
    output.write_json(found, tmp_path / "found.json")
    read = json.loads((tmp_path / "found.json").read_text())
    assert output.as_text(read) == output.as_text(found)
    output.write_docs(read, output.as_text(read), tmp_path / "docs")
    assert floors_told(found) == [
        line for line in (tmp_path / "docs" / "peers.md").read_text().splitlines() if "floor:" in line
    ]
    assert json.loads((tmp_path / "docs" / "peers.json").read_text())["floors"] == read["floors"]


def test_every_plan_measures_floors_and_a_run_of_other_peers_alone_none():
    assert PLANS.keys() == COMPARISONS.keys()
    assert run(PLANS["smoke"], ["rq"])["by_peer"] == {}


def test_what_cannot_be_measured_here_leaves_the_other_floors(monkeypatch, django_db_blocker):
    def refuse(*_):
        raise BenchError("no claimer here")

    # It would be compiled.
    monkeypatch.setattr(claims, "rounds_binary", lambda: Path("claimer"))
    monkeypatch.setattr(alone, "claims_and_endings", refuse)
    with django_db_blocker.unblock():
        by_peer = run(PLANS["smoke"], ["reproq-fork-postgres", "reproq-pool-postgres", "rq"])["by_peer"]
    pool, fork = by_peer["reproq-pool-postgres"], by_peer["reproq-fork-postgres"]
    # The child alone came first, and has worked on its runs.
    assert pool["drain"] == {"failure": "BenchError: no claimer here"}
    assert len(pool["start"]["begun_ms"]) == PLANS["smoke"].starts
    assert pool["bulk"]["rows"] == PLANS["smoke"].runs
    assert min(pool["bulk"][way]["per_second"] for way in ("function", "copy")) > 0
    assert fork["fork"]["forks"] == 2 * PLANS["smoke"].forks
    assert fork["fork"]["us"] > 0


def test_targets_have_verdicts():
    verdicts = {one.what: one.verdict for one in targets(comparison(FLOORS))}
    assert verdicts["drain, fork on PostgreSQL : RQ (a fork per job)"] == "NOT MET"
    assert verdicts["bulk enqueue"] == "NOT MET"
    assert verdicts["start on an idle worker, PostgreSQL, p99"] == "met"
    assert verdicts["drain, pool on SQLite : Huey, SQLite"] == "not measured"


def bare(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "bench.peers.bare", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        stdout=subprocess.PIPE,
    )


@pytest.fixture
def address(request, tmp_path, postgres_cluster):
    if request.param == "sqlite":
        return request.param, str(tmp_path / "bare.sqlite3")
    postgres_cluster.sql("DROP TABLE IF EXISTS bare")
    return request.param, postgres_cluster.dsn()


@pytest.mark.parametrize("address", ["sqlite", "postgres"], indirect=True)
def test_a_bare_start_goes_through_three_processes(address):
    answer, _ = bare("starts", *address, "3").communicate(timeout=60)
    times = json.loads(answer)
    assert len(times) == 3
    # The notification may be there before the answer to who has sent it.
    assert all(0 < committed < begun and 0 < heard < begun for committed, heard, begun in times)


@pytest.mark.parametrize("address", ["sqlite", "postgres"], indirect=True)
def test_nothing_is_left_of_a_bare_start_that_is_killed(address):
    process = bare("starts", *address, "100000")
    deadline = time.monotonic() + 30
    while len(below(process.pid, processes())) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    # All of them have this pipe: it ends with the last.
    process.communicate(timeout=30)


def test_close_ratios_are_of_neighbours_and_every_second_repetition_goes_backwards() -> None:
    order = [peer.name for peer in in_turn(PEERS, 0)]
    assert sorted(order) == sorted(peer.name for peer in PEERS)
    for ours, other in (
        ("reproq-fork-postgres", "rq"),
        ("reproq-pool-sqlite", "huey-sqlite"),
        ("reproq-pool-postgres", "pgqueuer-async"),
        ("reproq-pool-postgres", "django-tasks-db"),
    ):
        assert abs(order.index(ours) - order.index(other)) == 1
    assert [peer.name for peer in in_turn(PEERS, 1)] == order[::-1]
    assert [peer.name for peer in in_turn(PEERS, 2)] == order
