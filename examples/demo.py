"""``make demo``: enqueue one of everything, start a worker, watch, and check how each run ended.

Exit code 0 only if every run ended as it should. DATABASE_URL chooses a PostgreSQL; otherwise SQLite in a new
folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

SITE = Path(__file__).parent / "site"
BULK = 1000
#: How late a scheduled task may start, seconds.
TOLERANCE_SECONDS = 0.05
#: A task that starts a little early by another clock is not early.
CLOCK_SECONDS = 0.005
TIMEOUT_SECONDS = 120
STOP_SECONDS = 40


@dataclass
class Expectation:
    """One line of the table: runs that belong together and what has to be true of them."""

    name: str
    results: list[Any]
    holds: Callable[[list[Any]], str | None]
    """None when all is well, else what is wrong."""

    def verdict(self) -> str | None:
        try:
            return self.holds(self.results)
        except ValueError as error:  # the result of a failed run raises when it is read
            return str(error)


def main() -> int:
    """Run the demo; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="reproq-demo-") as folder:
        os.environ.setdefault("DEMO_SQLITE", str(Path(folder, "demo.sqlite3")))
        os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
        sys.path.insert(0, str(SITE))
        import django

        django.setup()
        from django.core.management import call_command
        from django.db import connection

        print(f"Django {django.get_version()} on {connection.display_name}")
        call_command("migrate", verbosity=0, interactive=False)
        print("migrated; starting the worker")
        log = Path(folder, "worker.log")
        worker = start_worker(log)
        try:
            wait_for(worker)
            expectations = enqueue(Path(folder))
            watch(expectations, worker)
        finally:
            code = stop_worker(worker)
        good = table(expectations)
        if code != 0:
            print(f"\nThe worker ended with exit code {code}, not with 0.")
        if not good or code != 0:
            print(
                "\nThe end of the worker's log:\n"
                + "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            )
        print("\nAll ended as they should." if good and code == 0 else "\nSomething went wrong.")
        return 0 if good and code == 0 else 1


def start_worker(log: Path) -> subprocess.Popen[bytes]:
    """Start ``manage.py reproq worker``; it becomes the binary."""
    with open(log, "wb") as output:
        command = [sys.executable, str(SITE / "manage.py"), "reproq", "worker", "--concurrency", "4"]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=SITE
        )


def wait_for(worker: subprocess.Popen[bytes]) -> None:
    """Until it has imported the site: a clean checkout is compiled first, and what is due would be late."""
    from reproq_django.models import Worker

    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not Worker.objects.exists() and worker.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def stop_worker(worker: subprocess.Popen[bytes]) -> int:
    """Stop it as a service manager would; returns its exit code."""
    if worker.poll() is None:
        worker.terminate()
    try:
        return worker.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        return worker.wait()


def enqueue(folder: Path) -> list[Expectation]:
    """Enqueue one of everything."""
    from django.contrib.auth.models import User
    from django.tasks import default_task_backend
    from django.utils import timezone
    from shop import tasks

    from reproq_django.errors import WorkflowFailed
    from reproq_django.workflows import call, chain, chord, result_of

    User.objects.get_or_create(username="ada")
    ticks, lock = str(folder / "ticks"), str(folder / "lock")
    due = timezone.now() + timedelta(seconds=2)

    def returns(value: Any) -> Callable[[list[Any]], str | None]:
        def holds(results: list[Any]) -> str | None:
            found = results[0].return_value
            return None if found == value else f"returned {found!r}"

        return holds

    def retried(results: list[Any]) -> str | None:
        result = results[0]
        if result.attempts != 2 or len(result.errors) != 1:
            return f"{result.attempts} attempts, {len(result.errors)} errors"
        return None if result.return_value == "second try" else "wrong result"

    def failed(results: list[Any]) -> str | None:
        result = results[0]
        if result.status != "FAILED":
            return f"is {result.status}"
        return (
            None if result.errors[0].exception_class is ValueError else result.errors[0].exception_class_path
        )

    def punctual(results: list[Any]) -> str | None:
        # The database stamps the start; the task's own first line comes a little later.
        if results[0].started_at is None:
            return "never started"
        late = (results[0].started_at - due).total_seconds()
        return None if -CLOCK_SECONDS <= late <= TOLERANCE_SECONDS else f"started {late * 1000:+.0f} ms off"

    def told(results: list[Any]) -> str | None:
        found = results[0].metadata
        return None if found == {"progress": "20/20"} else f"metadata is {found}"

    def alone(results: list[Any]) -> str | None:
        count = sum(result.return_value != "alone" for result in results)
        return f"{count} overlapped" if count else None

    def each_once(results: list[Any]) -> str | None:
        lines = Path(ticks).read_text().split() if Path(ticks).exists() else []
        lost, again = BULK - len(set(lines)), len(lines) - len(set(lines))
        return f"{lost} lost, {again} run twice" if lost or again else None

    def added_up(results: list[Any]) -> str | None:
        found = results[-1].return_value
        return None if found == 55 else f"the callback returned {found!r}"

    def spoilt(results: list[Any]) -> str | None:
        kinds = [error.exception_class for error in results[1].errors]
        return None if kinds == [WorkflowFailed] else f"ended with {kinds}"

    members, total = chord(
        *((tasks.square, [number]) for number in range(1, 6)), callback=call(tasks.add_up, result_of())
    ).enqueue()
    scheduled = tasks.on_time.using(run_after=due).enqueue()
    bulk = default_task_backend.bulk_enqueue([(tasks.tick, (number, ticks), {}) for number in range(BULK)])
    return [
        Expectation("a task that queries the database", [tasks.count_users.enqueue("ad")], returns(1)),
        Expectation("a coroutine", [tasks.fetch_prices.enqueue(["A", "BB"])], returns({"A": 10, "BB": 20})),
        Expectation("context and metadata", [tasks.import_rows.enqueue(20)], told),
        Expectation("fails once, is retried", [tasks.flaky.enqueue(str(folder / "flaky"))], retried),
        Expectation("fails for good", [tasks.hopeless.enqueue()], failed),
        Expectation("scheduled 2 s ahead, met within 50 ms", [scheduled], punctual),
        Expectation(
            "one lock_key, never two at once",
            [tasks.exclusive.enqueue(lock, lock_key="demo") for _ in range(5)],
            alone,
        ),
        Expectation("a chord, its results added up", [*members, total], added_up),
        Expectation(
            "a chain that fails, and says so", chain(tasks.hopeless, tasks.on_time).enqueue(), spoilt
        ),
        Expectation(f"{BULK:,} in bulk, each exactly once", bulk, each_once),
    ]


def watch(expectations: list[Expectation], worker: subprocess.Popen[bytes]) -> None:
    """Show how far it is until every run has ended, the worker has, or the time is up."""
    from reproq_django.models import TaskRun

    ids = [result.result_id for each in expectations for result in each.results]
    runs = TaskRun.objects.filter(result_id__gte=min(ids), result_id__lte=max(ids))
    live = sys.stdout.isatty()
    started = time.monotonic()
    shown = -1
    while True:
        ended = runs.filter(status__in=["SUCCESSFUL", "FAILED", "CANCELLED"]).count()
        seconds = time.monotonic() - started
        if live:
            filled = 30 * ended // len(ids)
            print(
                f"\r[{'#' * filled}{'.' * (30 - filled)}] {ended:,} of {len(ids):,}  {seconds:4.1f} s",
                end="",
                flush=True,
            )
        elif ended != shown and (ended == len(ids) or ended - shown >= len(ids) // 5):
            print(f"{ended:,} of {len(ids):,} ended after {seconds:.1f} s", flush=True)
            shown = ended
        if ended == len(ids) or seconds > TIMEOUT_SECONDS or worker.poll() is not None:
            break
        time.sleep(0.05)
    if live:
        print()


def table(expectations: list[Expectation]) -> bool:
    """Print how each line ended; whether all are well."""
    good = True
    print(f"\n{'task':<40} {'runs':>6}  {'state':<12} {'attempts':>8}  {'last end':>9}  verdict")
    for each in expectations:
        refresh(each.results)
        states = sorted({result.raw_status for result in each.results})
        attempts = max(result.attempts for result in each.results)
        ends = [result.finished_at - result.enqueued_at for result in each.results if result.finished_at]
        took = f"{max(ends).total_seconds():.2f} s" if ends else "-"
        problem = each.verdict()
        good = good and problem is None
        print(
            f"{each.name:<40} {len(each.results):>6,}  {', '.join(states):<12} {attempts:>8}  {took:>9}  "
            f"{problem or 'ok'}"
        )
    return good


def refresh(results: list[Any]) -> None:
    """Read the runs again, all in one query."""
    from reproq_django.models import TaskRun
    from reproq_django.result import ReproqTaskResult

    rows = TaskRun.objects.in_bulk([result.result_id for result in results])
    results[:] = [ReproqTaskResult.from_run(rows[result.result_id]) for result in results]


if __name__ == "__main__":
    sys.exit(main())
