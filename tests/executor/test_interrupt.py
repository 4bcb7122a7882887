"""SIGINT is how the worker asks a running task to stop; what it must never do is hit anything else."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from executor.waiting import WAIT_SECONDS, until_it_says
from reproq_django.errors import TaskCancelled
from reproq_django.execution import interrupt


@pytest.fixture
def witness(tmp_path):
    """A file that the task writes to: ``up`` when it may be interrupted."""
    return tmp_path / "witness"


def interrupted(child, spec, witness):
    """The envelope of a run that is interrupted when it is under way."""
    child.send(spec)
    until_it_says(witness, "up")
    os.kill(child.pid, signal.SIGINT)
    return child.results(1)[0]["envelope"]


@pytest.mark.parametrize("task", ["cleans_up", "cleans_up_async"])
def test_a_task_is_stopped_where_it_is_and_cleans_up(child, spec, witness, task):
    found = interrupted(child, spec(task, str(witness)), witness)
    assert (found["ok"], found["kind"]) == (False, "cancelled")
    assert found["exception_class"] == "reproq_django.errors.TaskCancelled"
    assert found["message"] == "the run was cancelled"
    assert f"in {task}" in found["traceback"]
    assert "retry_in" not in found
    assert witness.read_text().split() == ["up", "cleaned"], "except Exception has not swallowed it"
    assert child.run(spec("process_facts"))["return"]["pid"] == child.pid, "the child goes on"
    assert child.run(spec("add_async", 1, 2)) == {"ok": True, "return": 3}, "and so does its loop"


def test_an_interrupted_transaction_is_rolled_back_and_metadata_is_kept(child, spec, witness):
    found = interrupted(
        child, spec("interrupted_in_transaction", str(witness)) | {"takes_context": True}, witness
    )
    assert (found["kind"], found["metadata"]) == ("cancelled", {"step": 1})
    assert child.run(spec("query_in_the_loop_is_closed"))["return"] is True, "its connection is not trusted"
    assert child.run(spec("autocommit_is_on"))["return"] == [True, False]


def test_a_task_may_make_a_success_of_it(child, spec, witness):
    found = interrupted(child, spec("makes_a_success_of_it", str(witness)), witness)
    assert found == {"ok": True, "return": "as far as I came"}


def test_a_task_may_fail_over_it(child, spec, witness):
    found = interrupted(child, spec("fails_over_it", str(witness)), witness)
    assert (found["kind"], found["message"]) == ("app_error", "cannot stop")


def test_a_run_is_interrupted_once_however_often_the_signal_comes(child, spec, witness):
    child.send(spec("counts_interruptions", str(witness), 0.5))
    until_it_says(witness, "up")
    os.kill(child.pid, signal.SIGINT)
    until_it_says(witness, "interrupted")
    for _ in range(5):
        os.kill(child.pid, signal.SIGINT)
        time.sleep(0.02)
    assert child.results(1)[0]["envelope"] == {"ok": True, "return": 1}


def test_a_signal_between_runs_hits_neither_the_child_nor_the_next_run(child, spec):
    child.run(spec("add", 0))
    for number in range(300):
        os.kill(child.pid, signal.SIGINT)
        assert child.run(spec("add", number)) == {"ok": True, "return": number}
    os.kill(child.pid, signal.SIGINT)
    assert child.run(spec("add_async", 1, 2)) == {"ok": True, "return": 3}


@pytest.mark.parametrize("task", ["add", "add_async"])
def test_a_signal_at_the_end_of_a_run_is_for_that_run_or_for_none(child, spec, task):
    child.run(spec(task, 0, 0))
    for number in range(300):
        child.send(spec(task, number, 0))
        time.sleep(number % 30 / 20_000)
        os.kill(child.pid, signal.SIGINT)
        found = child.results(1)[0]["envelope"]
        assert found.get("kind", "success") in ("success", "cancelled")
        assert child.run(spec(task, number, 1)) == {"ok": True, "return": number + 1}


def test_the_next_run_can_be_interrupted_too(child, spec, witness):
    for task in ("cleans_up_async", "cleans_up_async", "cleans_up", "cleans_up"):
        assert interrupted(child, spec(task, str(witness)), witness)["kind"] == "cancelled"
        witness.unlink()


def test_a_handler_that_a_task_has_left_is_replaced(child, spec, witness):
    assert child.run(spec("takes_the_signal"))["ok"]
    assert interrupted(child, spec("cleans_up", str(witness)), witness)["kind"] == "cancelled"


def test_a_task_may_cancel_its_own_run(child, spec):
    found = child.run(spec("gives_up"))
    assert (found["kind"], found["message"]) == ("cancelled", "not wanted any more")


def test_a_coroutine_that_cancels_itself_fails(child, spec):
    found = child.run(spec("cancels_itself_async"))
    assert (found["kind"], found["exception_class"]) == ("app_error", "asyncio.exceptions.CancelledError")


@pytest.mark.parametrize("task", ["cleans_up", "cleans_up_async"])
def test_in_mode_process_the_envelope_says_so_too(environment, spec, witness, task):
    command = [sys.executable, "-m", "reproq_django.executor", "--payload-json"]
    process = subprocess.Popen(
        [*command, json.dumps(spec(task, str(witness)))],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until_it_says(witness, "up")
    process.send_signal(signal.SIGINT)
    answer, said = process.communicate(timeout=WAIT_SECONDS)
    assert json.loads(answer)["kind"] == "cancelled", said
    assert process.returncode == 1


def test_what_must_not_be_torn_ends_before_the_interruption():
    done = []

    def whole():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("whole")

    def task():
        interrupt.held(whole)
        done.append("more")

    before = signal.getsignal(signal.SIGINT)
    try:
        interrupt.install()
        with pytest.raises(TaskCancelled):
            interrupt.call(task, [], {})
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["whole"]
