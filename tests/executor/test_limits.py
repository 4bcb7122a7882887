"""Soft timeouts and memory: what stops a task from within its process. And what an attempt has used."""

import os
import signal

import pytest

from executor.waiting import until_it_says

MIB = 1024 * 1024


@pytest.fixture
def witness(tmp_path):
    """A file that the task writes to."""
    return tmp_path / "witness"


def test_a_task_that_takes_too_long_hears_of_it_and_cleans_up(child, spec, witness):
    found = child.run(spec("sample.wishes.is_slow", str(witness)))
    assert (found["kind"], found["exception_class"]) == ("timeout", "reproq_django.errors.SoftTimeout")
    assert found["message"] == "the attempt has taken its soft timeout of 0.2 s"
    assert witness.read_text().split() == ["up", "cleaned"], "except Exception has not swallowed it"
    assert child.run(spec("add", 1))["ok"], "the child goes on"


def test_a_coroutine_is_cancelled_with_it(child, spec, witness):
    found = child.run(spec("sample.wishes.is_slow_async", str(witness)))
    assert (found["kind"], found["exception_class"]) == ("timeout", "reproq_django.errors.SoftTimeout")
    assert witness.read_text().split() == ["up", "SoftTimeout", "cleaned"]
    assert child.run(spec("add_async", 1, 2))["ok"], "the loop goes on"


def test_a_task_may_make_the_best_of_it(child, spec):
    assert child.run(spec("sample.wishes.makes_the_best_of_it"))["ok"]


def test_a_task_that_goes_on_can_still_be_cancelled(child, spec, witness):
    child.send(spec("sample.wishes.goes_on_after_its_soft_timeout", str(witness)))
    until_it_says(witness, "up")
    os.kill(child.pid, signal.SIGINT)
    assert child.results(1)[0]["envelope"]["kind"] == "cancelled"


def test_a_timer_never_outlives_its_task(child, spec):
    child.send(*(spec("sample.wishes.is_quick", number) for number in range(200)), spec("sleeps", 0.2))
    results = child.results(201)
    assert [each["envelope"]["return"] for each in results] == [*range(200), "slept"]
    assert not any("retire" in each for each in results)


def test_more_time_moves_the_soft_timeout_too(child, spec):
    run = spec("sample.wishes.wants_more_time") | {
        "takes_context": True,
        "exec": {"timeout_seconds": 1, "max_attempts": 1},
    }
    found = child.run(run)
    first, second = found["return"]
    assert 0.9 < first < 1.5, "0.6 s before 1.6 s"
    assert 0.25 < second < 0.8, "0.6 s before 0.9 s, once more"
    assert [(note["type"], note["seconds"]) for note in child.notes] == [("extend", 1.6), ("extend", 0.9)]


@pytest.mark.parametrize("task", ["takes_memory", "takes_memory_async"])
def test_memory_beyond_the_cap_is_an_error_in_the_task(child, spec, task):
    found = child.run(spec(f"sample.wishes.{task}", 256))
    assert (found["kind"], found["exception_class"]) == ("memory_limit", "builtins.MemoryError")
    (note,) = child.notes
    assert (note["type"], note["max_memory_bytes"], note["epoch"]) == ("limits", 64 * MIB, 1)
    assert child.run(spec(f"sample.wishes.{task}", 16))["return"] == 16 * MIB
    assert child.run(spec("sample.wishes.takes_memory_freely", 256))["ok"], "the cap is for its own task"


def test_in_mode_process_both_hold_too(one_shot, spec, witness):
    assert one_shot(spec("sample.wishes.is_slow", str(witness))).envelope["kind"] == "timeout"
    assert one_shot(spec("sample.wishes.takes_memory", 256)).envelope["kind"] == "memory_limit"


def test_each_attempt_is_told_what_it_has_used(child, spec):
    child.run(spec("add", 1))
    before = child.usage
    child.run(spec("sample.wishes.takes_memory_freely", 200))
    large = child.usage
    child.run(spec("add", 1))
    after = child.usage
    assert large["max_rss_kib"] > before["max_rss_kib"] + 190 * 1024
    assert after["max_rss_kib"] < before["max_rss_kib"] + 50 * 1024, "the peak was the other run's"
    child.run(spec("sample.wishes.burns", 0.1))
    assert 90 < child.usage["cpu_ms"] < 200
    child.run(spec("sleeps", 0.1))
    assert child.usage["cpu_ms"] < 50


def test_mode_process_says_so_as_well(one_shot, spec):
    usage = one_shot(spec("sample.wishes.burns", 0.1)).usage
    assert 90 < usage["cpu_ms"] < 200
    assert usage["max_rss_kib"] > 10_000
