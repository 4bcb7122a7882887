"""Children that work on several runs at once: coroutines on one loop, functions in threads."""

import json
import time
from pathlib import Path

import pytest

from reproq_django.execution import frames


@pytest.fixture
def async_child(zygote):
    return zygote.fork(shared="async", places=100)


@pytest.fixture
def threads_child(zygote):
    return zygote.fork(shared="threads", places=4)


def send(child, spec, result_id):
    child.send(spec, result_id=str(result_id), epoch=4)


def cancel(child, result_id):
    child.stream.sendall(
        frames.encode(json.dumps({"type": "cancel", "result_id": str(result_id), "epoch": 4}).encode())
    )


def by_id(results):
    return {int(result["result_id"]): result for result in results}


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_coroutines_share_one_loop_and_answer_when_they_are_done(async_child, spec):
    send(async_child, spec("sleeps_async", 0.4, "slow"), 1)
    for number in range(2, 60):
        send(async_child, spec("sleeps_async", 0.05, number), number)
    results = async_child.results(59)
    assert results[-1]["envelope"] == {"ok": True, "return": "slow"}
    assert {result["envelope"]["return"] for result in results[:-1]} == set(range(2, 60))


def test_what_two_coroutines_print_is_told_apart(async_child, spec):
    send(async_child, spec("prints_async", "left", 3), 1)
    send(async_child, spec("prints_async", "right", 3), 2)
    results = by_id(async_child.results(2))
    for number, word, other in ((1, "left", "right"), (2, "right", "left")):
        printed = results[number]["stdout"]
        assert printed.count(f"{word} from a thread") == 3
        assert f"{word} 2" in printed
        assert other not in printed + results[number].get("stderr", "")


def test_a_cancelled_coroutine_ends_and_the_others_go_on(async_child, spec):
    send(async_child, spec("sleeps_async", 600), 1)
    send(async_child, spec("sleeps_async", 0.3, "done"), 2)
    cancel(async_child, 1)
    results = by_id(async_child.results(2))
    assert results[1]["envelope"]["kind"] == "cancelled"
    assert results[1]["envelope"]["exception_class"] == "reproq_django.errors.TaskCancelled"
    assert results[2]["envelope"] == {"ok": True, "return": "done"}


def test_a_coroutine_may_answer_although_it_was_cancelled(async_child, spec, tmp_path):
    witness = tmp_path / "begun"
    send(async_child, spec("swallows_cancellation", str(witness)), 1)
    until(witness.exists)
    cancel(async_child, 1)
    assert async_child.results(1)[0]["envelope"] == {"ok": True, "return": "stayed"}


def test_what_a_coroutine_leaves_running_ends_with_it_and_not_with_others(async_child, spec, tmp_path):
    witness = tmp_path / "stray"
    send(async_child, spec("sleeps_async", 0.3, "other"), 1)
    send(async_child, spec("leaves_strays_running", str(witness)), 2)
    first, second = async_child.results(2)
    assert first["result_id"] == "2"
    assert witness.read_text() == "ended"
    assert second["envelope"]["return"] == "other"


def test_a_coroutine_that_keeps_the_loop_is_named(async_child, spec):
    send(async_child, spec("sleeps_async", 0.01, "meanwhile"), 1)
    send(async_child, spec("keeps_the_loop", 8), 2)
    note = async_child.message()
    assert (note["type"], note["result_id"], note["epoch"]) == ("blocked", "2", 4)
    assert note["seconds"] >= 5


def test_errors_and_refusals_are_envelopes_as_everywhere(async_child, spec):
    send(async_child, spec("fails"), 1)
    send(async_child, spec("not_there"), 2)
    send(async_child, {"no": "spec"}, 3)
    results = by_id(async_child.results(3))
    assert results[1]["envelope"]["exception_class"] == "builtins.ValueError"
    assert results[2]["envelope"]["kind"] == "security_violation"
    assert results[3]["envelope"]["kind"] == "invalid_spec"


def test_functions_run_in_threads_at_the_same_time(threads_child, spec, tmp_path):
    send(threads_child, spec("waits_for_the_other", str(tmp_path), "a", "b"), 1)
    send(threads_child, spec("waits_for_the_other", str(tmp_path), "b", "a"), 2)
    results = by_id(threads_child.results(2))
    assert results[1]["envelope"] == results[2]["envelope"] == {"ok": True, "return": True}
    assert (results[1]["stdout"], results[2]["stdout"]) == ("met b\n", "met a\n")


def test_a_function_in_a_thread_is_interrupted_alone(threads_child, spec, tmp_path):
    witness = tmp_path / "begun"
    send(threads_child, spec("turns_in_python", str(witness)), 1)
    until(witness.exists)
    send(threads_child, spec("add", 1, 2), 2)
    assert threads_child.results(1)[0]["envelope"]["return"] == 3
    cancel(threads_child, 1)
    assert threads_child.results(1)[0]["envelope"]["kind"] == "cancelled"
    send(threads_child, spec("add", 2, 2), 3)
    assert threads_child.results(1)[0]["envelope"]["return"] == 4


def test_the_child_ends_when_its_stream_does_whatever_it_works_on(zygote, spec, tmp_path):
    child = zygote.fork(shared="threads", places=2)
    witness = tmp_path / "begun"
    send(child, spec("turns_in_python", str(witness)), 1)
    until(witness.exists)
    child.stream.close()
    ended = zygote.packet("exited")
    assert (ended["pid"], ended["status"]) == (child.pid, 0)
    assert not Path(f"/proc/{child.pid}").exists()


def test_soft_timeouts_are_each_runs_own(async_child, threads_child, spec, tmp_path):
    witness = tmp_path / "witness"
    send(async_child, spec("sample.wishes.is_slow_async", str(witness)), 1)
    send(async_child, spec("sleeps_async", 0.5, "done"), 2)
    results = by_id(async_child.results(2))
    assert (results[1]["envelope"]["kind"], results[2]["envelope"]["return"]) == ("timeout", "done")
    assert witness.read_text().split() == ["up", "SoftTimeout", "cleaned"]
    send(threads_child, spec("sample.wishes.turns_in_python"), 1)
    found = threads_child.results(1)[0]["envelope"]
    assert (found["kind"], found["exception_class"]) == ("timeout", "reproq_django.errors.SoftTimeout")


def test_notes_name_their_run(async_child, spec):
    run = spec("sample.wishes.reports_async") | {"takes_context": True}
    for number in (1, 2, 3):
        send(async_child, run, number)
    async_child.results(3)
    assert sorted(note["result_id"] for note in async_child.notes) == ["1", "1", "2", "2", "3", "3"]
