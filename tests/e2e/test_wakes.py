"""Workers that no notification reaches find their work by polling."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from harness import ROOT, Site

from testapp import tasks

pytestmark = pytest.mark.parametrize("engine", ["postgres"], indirect=True)
POOLER = "a transaction pooler is in between"


@pytest.fixture(params=["deaf", "transaction"])
def between(request: pytest.FixtureRequest, site: Site) -> Iterator[str]:
    """What stands between the worker and its database: it passes on no notification."""
    port = str(site.database["PORT"])
    command = [sys.executable, "-m", "bench.pooler", request.param, port]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        site.url = site.url.replace(f":{port}/", f":{process.stdout.readline().strip()}/")
        yield request.param
        # The end of its input is its end.
        process.communicate()


def test_without_notifications_an_idle_worker_starts_runs_within_its_slowest_poll(
    site: Site, between: str
) -> None:
    with site.worker() as worker:
        results = []
        for number in range(3):
            # Idle for so long that it polls no more often than once a second.
            time.sleep(2)
            results.append(tasks.mark.enqueue(number))
        site.ended()
        assert (POOLER in worker.said) == (between == "transaction")
    waits = [site.run(result).started_at - site.run(result).enqueued_at for result in results]
    assert max(waits) < timedelta(seconds=1.2)
    # Three wake-ups would all have come within milliseconds.
    assert max(waits) > timedelta(milliseconds=50)


def test_locks_limits_and_endings_hold_without_a_session(site: Site, between: str) -> None:
    for number in range(20):
        tasks.sleep_and_mark.enqueue(number, 0.02, lock_key="one")
        tasks.mark.enqueue(number)
    with site.worker("--concurrency", "4"), site.worker("--concurrency", "4"):
        site.ended()
    held = site.lines("start") + site.lines("end")
    assert len(held) == 40
    in_order = [line for line in site.lines() if not line.startswith("mark")]
    assert all(
        start.split() == ["start", end.split()[1]]
        for start, end in zip(in_order[::2], in_order[1::2], strict=True)
    )
    assert site.runs(status="SUCCESSFUL", attempts=1).count() == 40
