"""What tasks say of their own runs, and what their processes say of them, ends up in the database."""

import pytest
from django.tasks import TaskResultStatus
from harness import Site

from testapp import tasks, wishes


@pytest.fixture(params=["pool", "fork", "process"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def ended(site: Site, mode: str, result: object) -> object:
    """The run, after the worker has worked on it and on another one."""
    following = tasks.add.enqueue(20, 22)
    with site.worker("--executor-mode", mode, "--concurrency", "1"):
        site.ended()
    result.refresh()
    following.refresh()
    assert following.return_value == 42
    return site.run(result)


def last_error(result: object) -> str:
    return result.errors[-1].exception_class.__name__


def test_a_snooze_costs_no_attempt_and_is_no_error(site: Site, mode: str) -> None:
    result = wishes.snoozes.enqueue(3)
    run = ended(site, mode, result)
    assert (run.status, run.return_json, run.errors_json) == ("SUCCESSFUL", 1, [])
    assert (run.attempts, run.metadata_json, len(site.lines("look"))) == (1, {"looked": True}, 4)


def test_a_retry_waits_as_long_as_the_task_says(site: Site, mode: str) -> None:
    result = wishes.asks_for_another.enqueue()
    run = ended(site, mode, result)
    assert (run.status, run.last_error) == ("FAILED", "not yet")
    assert (len(site.lines("attempt")), last_error(result)) == (3, "Retry")


@pytest.mark.parametrize(
    ("error", "attempts"), [("os", 3), ("value", 1)], ids=["worth another", "not worth another"]
)
def test_a_picky_task_is_tried_again_for_some_errors(
    site: Site, mode: str, error: str, attempts: int
) -> None:
    result = wishes.is_picky.enqueue(error)
    assert ended(site, mode, result).status == "FAILED"
    assert len(site.lines("attempt")) == attempts
    assert last_error(result) == {"os": "OSError", "value": "ValueError"}[error]


def test_a_task_gives_up(site: Site, mode: str) -> None:
    result = wishes.gives_up.enqueue()
    run = ended(site, mode, result)
    assert (run.status, run.last_error) == ("FAILED", "no such customer")
    assert (len(site.lines("attempt")), last_error(result)) == (1, "Discard")


def test_a_task_cancels_its_run(site: Site, mode: str) -> None:
    result = wishes.cancels_itself.enqueue()
    run = ended(site, mode, result)
    assert (run.status, run.last_error) == ("CANCELLED", "nobody wants it")
    assert (result.status, last_error(result)) == (TaskResultStatus.FAILED, "TaskCancelled")


@pytest.mark.parametrize(
    ("task", "error"),
    [(wishes.takes_too_long, "TaskTimedOut"), (wishes.takes_too_much, "MemoryLimitExceeded")],
    ids=["time", "memory"],
)
def test_a_task_that_goes_beyond_its_limits(site: Site, mode: str, task: object, error: str) -> None:
    result = task.enqueue()
    assert ended(site, mode, result).status == "FAILED"
    assert last_error(result) == error
    assert "reproq" not in result.errors[-1].traceback.splitlines()[1], "the task's own frame comes first"


def test_a_task_that_kills_its_process_is_quarantined(site: Site, mode: str) -> None:
    result = wishes.kills_its_process.enqueue()
    run = ended(site, mode, result)
    assert (run.status, run.crash_count, len(site.lines("attempt"))) == ("FAILED", 3, 3)
    assert last_error(result) == "TaskQuarantined"
    assert "triage retry" in run.last_error


def test_the_next_task_finds_a_clean_process(site: Site) -> None:
    for _ in range(5):
        wishes.leaves_its_folder.enqueue()
        wishes.looks_around.enqueue()
    with site.worker("--concurrency", "1"):
        site.ended()
    runs = {run.result_id: run for run in site.runs()}
    assert {run.status for run in runs.values()} == {"SUCCESSFUL"}
    assert {run.attempts for run in runs.values()} == {1}
    returned = [run.return_json for run in runs.values()]
    left = [value for value in returned if isinstance(value, int)]
    for pid, folder, variable in (value for value in returned if isinstance(value, list)):
        assert pid not in left
        assert (folder, variable) == (str(site.folder), None)
