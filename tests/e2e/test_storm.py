"""Workers are killed again and again while they work: nothing is lost, nothing is committed twice."""

import random
import signal
from collections import Counter
from contextlib import ExitStack

from django.tasks import task_backends
from harness import Site, Worker, alive, until

from testapp import tasks

LEASE = ("--lease-seconds", "5", "--heartbeat-seconds", "1", "--reclaim-interval-seconds", "1")
RUNS, KILLS, SLOTS = 1500, 8, 4


def test_a_storm_of_kills_loses_nothing_and_commits_nothing_twice(site: Site) -> None:
    chance = random.Random(20261123)
    workers = 3 if site.is_postgres else 1
    # A budget that no storm exhausts: what is counted here is loss, not patience.
    task = tasks.sleep_and_mark.using(max_attempts=100)
    items = [(task, (number, 0.02), {}) for number in range(RUNS)]
    task_backends["default"].bulk_enqueue(items)
    dead: set[int] = set()
    with ExitStack() as stack:

        def start() -> Worker:
            return stack.enter_context(site.worker("--concurrency", str(SLOTS), *LEASE))

        running = [start() for _ in range(workers)]
        for kill in range(1, KILLS + 1):
            goal = RUNS * kill // (KILLS + 2)
            until(lambda goal=goal: len(site.lines("end")) >= goal, seconds=120, what=f"{goal} runs end")
            victim = running.pop(chance.randrange(len(running)))
            dead |= victim.family()
            victim.signal(signal.SIGKILL)
            victim.exit_code()
            running.append(start())
        site.ended(seconds=120)
    until(lambda: not alive(dead), seconds=5, what="the dead workers' processes are gone")

    assert site.runs(status="SUCCESSFUL").count() == RUNS
    ends = Counter(line.split()[1] for line in site.lines("end"))
    assert len(ends) == RUNS
    # Only what a killed worker had in its hands may have run again.
    for run in site.runs(attempts__gt=1):
        assert {entry["kind"] for entry in run.errors_json} == {"lease_expiry"}
        assert run.attempts == run.epoch == len(run.errors_json) + 1
    starts = Counter(line.split()[1] for line in site.lines("start"))
    repeated = {number for number, count in starts.items() if count > 1}
    assert repeated <= {str(run.spec_json["args"][0]) for run in site.runs(attempts__gt=1)}
