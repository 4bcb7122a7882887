"""However a task ends, its run ends too, says why, and the next task runs, in both modes."""

import pytest
from django.db import connections
from django.tasks import TaskResultStatus, default_task_backend
from harness import ALIAS, Site

from testapp import tasks

MODES = ("pool", "process")


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fails(site: Site, mode: str, result: object) -> tuple[str, str]:
    """The class of the error and its message, after the worker has run the task and another one."""
    following = tasks.add.enqueue(20, 22)
    with site.worker("--executor-mode", mode, "--concurrency", "1"):
        site.ended()
    result.refresh()
    following.refresh()
    assert following.return_value == 42
    assert result.status == TaskResultStatus.FAILED
    return result.errors[-1].exception_class.__name__, site.run(result).last_error


def test_an_exception_is_kept_with_its_traceback(site: Site, mode: str) -> None:
    result = tasks.fail.enqueue("no such thing")
    assert fails(site, mode, result) == ("ValueError", "no such thing")
    assert "raise ValueError(message)" in result.errors[0].traceback


def test_a_return_value_that_is_not_json_says_so(site: Site, mode: str) -> None:
    kind, message = fails(site, mode, tasks.returns_non_json.enqueue())
    assert kind == "InvalidResult"
    assert "object" in message


def test_a_process_that_exits_is_reported_with_its_code(site: Site, mode: str) -> None:
    kind, message = fails(site, mode, tasks.exit_hard.enqueue(7))
    assert kind == "ExecutorCrashed"
    assert "7" in message


def test_sys_exit_is_an_exception_of_the_task(site: Site, mode: str) -> None:
    kind, _ = fails(site, mode, tasks.exit_softly.enqueue(7))
    assert kind == "SystemExit"


def test_a_task_is_stopped_at_its_own_timeout(site: Site, mode: str) -> None:
    kind, message = fails(site, mode, tasks.sleep_beyond_timeout.enqueue())
    assert kind == "TaskTimedOut"
    assert "timeout of 1 s" in message


def test_ten_megabytes_of_output_hurt_nobody(site: Site, mode: str) -> None:
    result = tasks.print_much.enqueue(10)
    with site.worker("--executor-mode", mode, "--concurrency", "1", "--logs-dir", "logs"):
        site.ended()
    result.refresh()
    assert result.return_value == 10
    assert "x" * 1000 in site.workers[0].said, "what a task prints is seen where the worker's log is"
    assert site.workers[0].said.count("prints more than is shown here") == 1
    assert len(site.workers[0].said) < 2_000_000
    log = site.folder / "logs" / f"task-{result.result_id}-attempt-1.log"
    assert site.run(result).logs_uri == str(log)
    assert 100_000 < log.stat().st_size < 400_000
    assert log.stat().st_mode & 0o777 == 0o600


def test_an_argument_of_five_megabytes_arrives(site: Site, mode: str) -> None:
    result = tasks.size_of.enqueue("ž" * 2_500_000)
    with site.worker("--executor-mode", mode):
        site.ended()
    result.refresh()
    assert result.return_value == 2_500_000


def test_a_spec_beyond_the_workers_bound_says_which_bound(site: Site) -> None:
    result = tasks.size_of.enqueue("x" * 100_000)
    config = site.folder / "reproq.toml"
    config.write_text("[worker]\nmax_payload_bytes = 50000\n")
    kind, message = fails(site, "pool", result)
    assert kind == "InvalidSpec"
    assert "worker.max_payload_bytes" in message


def test_a_receiver_that_raises_does_not_fail_the_task(site: Site, mode: str) -> None:
    result = tasks.add.enqueue(1, 1)
    with site.worker("--executor-mode", mode, REPROQ_TEST_BROKEN_RECEIVER="1"):
        site.ended()
    result.refresh()
    assert result.return_value == 2


def test_endings_are_written_together_while_more_work_is_at_hand(site: Site) -> None:
    default_task_backend.bulk_enqueue([(tasks.sleep_and_mark, (number, 0.002), {}) for number in range(600)])
    with site.worker("--concurrency", "4"):
        site.ended()
    # Of one statement; PostgreSQL reads its clock for each row, but keeps which transaction wrote it.
    batch = "xmin::text" if site.is_postgres else "finished_at"
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(f"SELECT count(DISTINCT {batch}) FROM task_runs")
        assert cursor.fetchone()[0] < 600 / 4
