"""How attempts have ended and how far running ones are, from the worker to whoever asks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness import Site, until
from test_logs import ask
from test_operate import reproq

from testapp import tasks


@pytest.mark.parametrize("mode", ["pool", "fork", "process"])
def test_each_attempt_says_how_it_ended(site: Site, mode: str) -> None:
    result = tasks.end_in_every_way.enqueue()
    with site.worker("--executor-mode", mode, "--concurrency", "1"):
        site.ended()
    result.refresh()
    assert result.return_value == "at last"
    raised, crashed, late, returned = result.attempt_history
    assert [one.number for one in result.attempt_history] == [1, 2, 3, 4]
    assert (raised.outcome, raised.exception_class, raised.message) == (
        "app_error", "builtins.LookupError", "nothing there"
    )  # fmt: skip
    assert (crashed.outcome, late.outcome, returned.outcome) == ("crashed", "timeout", "returned")
    assert "11" in str(crashed.exit) or "SIGSEGV" in str(crashed.exit)
    for one in result.attempt_history:
        assert one.worker_id == "worker-0"
        assert one.pid
        assert one.started_at
        assert one.ended_at
        assert one.started_at <= one.ended_at
    assert late.started_at
    assert late.ended_at
    assert (late.ended_at - late.started_at).total_seconds() > 1.9
    assert raised.cpu_ms
    assert raised.max_rss_kib
    assert raised.max_rss_kib > 5_000
    assert len({one.pid for one in result.attempt_history}) >= 3, "a process that has died is another's"

    table = reproq(site, "attempts", result.id).splitlines()
    assert "SUCCESSFUL" in table[0]
    assert [line.split()[0] for line in table[2:]] == ["attempt", "1", "2", "3", "4"]
    answer = json.loads(reproq(site, "attempts", result.id, "--json"))
    assert [one["outcome"] for one in answer["attempts"]] == ["app_error", "crashed", "timeout", "returned"]
    assert answer["running"] is None


def test_why_says_how_the_last_attempt_ended(site: Site) -> None:
    result = tasks.exit_hard.enqueue(7)
    with site.worker("--concurrency", "1"):
        site.ended()
    (reason,) = json.loads(reproq(site, "why", result.id, "--json"))["reasons"]
    assert (reason["code"], reason["attempt"]["outcome"]) == ("failed", "crashed")
    assert "7" in reason["attempt"]["exit"]
    assert f"pid {reason['attempt']['pid']}" in reason["text"]


@pytest.mark.parametrize("mode", ["pool", "process"])
def test_progress_is_read_while_the_task_runs_and_its_last_word_stays(site: Site, mode: str) -> None:
    site.witness.touch()
    result = tasks.say_how_far.enqueue()
    with site.worker("--executor-mode", mode, "--concurrency", "1"):
        for step in (1, 2):
            ask(site, f"step {step}")
            progress = until(lambda step=step: reached(result, step), what=f"step {step} is read")
            assert (result.raw_status, progress.message) == ("RUNNING", f"step {step}")
            assert progress.fraction == step / 3
        running = json.loads(reproq(site, "attempts", result.id, "--json"))
        assert (running["running"]["attempt"], running["progress"]["current"]) == (1, 2)
        assert "2 of 3: step 2" in reproq(site, "attempts", result.id)
        ask(site, "step 3")
        site.ended()
    assert reached(result, 3).message == "step 3"
    assert result.raw_status == "SUCCESSFUL"


def reached(result: Any, step: int) -> Any:
    result.refresh()
    return result.progress if result.progress and result.progress.current == step else None


def test_coroutines_in_one_process_have_progress_and_output_of_their_own(site: Site) -> None:
    site.witness.touch()
    results = [tasks.say_how_far_async.enqueue(number) for number in range(8)]
    with site.worker("--concurrency", "1"):
        for number, result in enumerate(results):
            until(lambda one=result, number=number: reached(one, number), what=f"progress of {number}")
        ask(site, "go")
        site.ended()
    for number, result in enumerate(results):
        assert reached(result, number + 1).message == "done"
        assert result.logs() == f"I am {number}\n"
    assert len({result.attempt_history[0].pid for result in results}) == 1
