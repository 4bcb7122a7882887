"""Chains, groups and chords under the real worker, on both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models.functions import Now
from harness import ALIAS, Site, until
from test_operate import reproq

from reproq_django.errors import TaskCancelled, TaskDiscarded, WorkflowFailed
from reproq_django.models import WorkflowEvent, WorkflowRun
from reproq_django.schema import apply_schema
from reproq_django.workflows import call, chain, chord, group, result_of
from testapp import tasks


def outcome(results: Any, *, seconds: float = 60) -> tuple[str, int, int]:
    """How its workflow has ended: status, and runs that have succeeded and failed, when all have ended."""
    workflow = results.workflow
    workflow.wait(timeout=seconds, poll_interval=0.05)
    until(lambda: workflow.status().unfinished == 0, seconds=seconds, what="all of its runs are counted")
    state = workflow.status()
    return str(state.status), state.succeeded, state.failed


def raw(site: Site, *results: Any) -> list[str]:
    return [site.run(result).status for result in results]


def errors(result: Any) -> list[Any]:
    result.refresh()
    return [error.exception_class for error in result.errors]


@pytest.mark.parametrize("flags", [[], ["--threads", "2"], ["--executor-mode", "process"]], ids=" ".join)
def test_results_are_passed_on(site: Site, flags: list[str]) -> None:
    first = call(tasks.add, 1, 2)
    results = chain(
        first,
        call(tasks.add_async, result_of(), 10),
        group(call(tasks.echo, result_of()), call(tasks.add, b=result_of(first), a=100), chain(tasks.noop)),
        call(tasks.echo, {"group": result_of(), "first": result_of(first)}),
    ).enqueue()
    with site.worker(*flags):
        assert outcome(results) == ("SUCCESSFUL", 6, 0)
    last = results[-1]
    last.refresh()
    assert last.return_value == {"group": [13, 103, None], "first": 3}
    assert not WorkflowEvent.objects.using(ALIAS).exists()


def test_a_callback_comes_once_after_all_members_with_their_results_in_order(site: Site) -> None:
    members, callback = results = chord(
        *(call(tasks.mark, number) for number in range(50)), callback=call(tasks.echo, result_of())
    ).enqueue()
    with site.worker():
        assert outcome(results) == ("SUCCESSFUL", 51, 0)
    run = site.run(callback)
    assert run.return_json == list(range(50))
    assert (run.attempts, run.epoch) == (1, 1)
    assert run.started_at >= max(site.run(member).finished_at for member in members)
    assert len(site.lines("mark")) == 50


def test_all_combinations_end(site: Site) -> None:
    """Chords in chains in chords, and empty ones in between."""
    inner = chain(
        call(tasks.mark, 1),
        chord(call(tasks.echo, result_of()), call(tasks.mark, 2), callback=call(tasks.echo, result_of())),
        group(),
        chord(callback=call(tasks.echo, [result_of()])),
    )
    results = chord(
        inner,
        chain(),
        group(chain(call(tasks.mark, 3), call(tasks.echo, result_of()))),
        callback=chain(call(tasks.mark, 4), call(tasks.echo, result_of(inner))),
    ).enqueue()
    with site.worker():
        assert outcome(results) == ("SUCCESSFUL", 9, 0)
    assert site.run(results[1][-1]).return_json == [[]]
    assert site.run(results[0][0][1][1]).return_json == [1, 2]


def test_a_failure_ends_what_waits_for_it_and_names_the_culprit(site: Site) -> None:
    first, (bad, other), last, later = results = chain(
        (tasks.mark, [1]),
        group((tasks.fail, ["no such order"]), (tasks.sleep_and_mark, [2, 0.3])),
        (tasks.mark, [3]),
        (tasks.mark, [4]),
        on_failure=call(tasks.mourn, None),
    ).enqueue()
    with site.worker():
        assert outcome(results) == ("FAILED", 2, 3)
        results.on_failure.wait(timeout=30, poll_interval=0.05)
    assert raw(site, first, bad, other, last, later) == [
        "SUCCESSFUL",
        "FAILED",
        "SUCCESSFUL",
        "FAILED",
        "FAILED",
    ]
    assert site.lines("mark") == ["mark 1"]
    for spoilt in (last, later):
        assert errors(spoilt) == [WorkflowFailed]
        assert spoilt.errors[0].traceback == (
            f"testapp.tasks.fail run {bad.result_id} ended FAILED: no such order"
        )
        assert site.run(spoilt).errors_json[0]["failed_result_id"] == bad.result_id
        assert site.run(spoilt).started_at is None
    results.on_failure.refresh()
    assert results.on_failure.return_value["status"] == "FAILED"
    assert set(results.on_failure.return_value["culprits"]) == {bad.id}


def test_on_failure_gets_what_there_is(site: Site) -> None:
    good, bad = call(tasks.mark, 1), call(tasks.fail, "no")
    results = group(good, bad, on_failure=call(tasks.echo, [result_of(good), result_of(bad)])).enqueue()
    with site.worker():
        assert outcome(results) == ("FAILED", 1, 1)
        assert results.on_failure.wait(timeout=30, poll_interval=0.05).return_value == [1, None]


def test_a_workflow_that_goes_on_whatever_fails(site: Site) -> None:
    members, callback = results = chord(
        (tasks.mark, [1]), (tasks.fail, ["no"]), (tasks.mark, [3]), callback=call(tasks.echo, result_of()),
        policy="continue", on_failure=tasks.noop,
    ).enqueue()  # fmt: skip
    with site.worker():
        assert outcome(results) == ("SUCCESSFUL", 3, 1)
        until(lambda: raw(site, results.on_failure) == ["CANCELLED"], what="on_failure is not needed")
    assert raw(site, *members) == ["SUCCESSFUL", "FAILED", "SUCCESSFUL"]
    assert site.run(callback).return_json == [1, None, 3]
    assert errors(results.on_failure) == [TaskDiscarded]


def test_a_culprit_that_is_retried_revives_what_it_stopped(site: Site) -> None:
    (_, bad), last = results = chord(
        (tasks.mark, [1]), (tasks.fail_unless_mended, ["pump"]), callback=call(tasks.echo, result_of())
    ).enqueue()
    with site.worker():
        assert outcome(results) == ("FAILED", 1, 2)
        with site.witness.open("a") as witness:
            witness.write("mended pump\n")
        assert reproq(site, "triage", "retry", "--id", bad.id) == "1 retried\n"
        until(lambda: results.workflow.status().status == "SUCCESSFUL", what="it goes on")
        assert outcome(results) == ("SUCCESSFUL", 3, 0)
    assert site.run(last).return_json == [1, "pump"]
    assert site.lines("mark") == ["mark 1"], "what had succeeded is not run again"
    assert [entry["kind"] for entry in site.run(last).errors_json] == ["workflow_failed"]
    assert results.workflow.culprits() == []


@pytest.mark.parametrize("how", ["cancelled", "expired", "deleted"])
def test_whatever_ends_a_member_badly_ends_what_waits_for_it(site: Site, how: str) -> None:
    member, last = results = chain(
        call(tasks.mark, 1, run_after=timedelta(hours=1)), (tasks.mark, [2])
    ).enqueue()
    with site.worker():
        if how == "cancelled":
            member.cancel()
        elif how == "expired":
            site.runs(pk=member.result_id).update(expires_at=Now(), run_after=Now())
        else:
            site.runs(pk=member.result_id).delete()
        assert outcome(results) == ("FAILED", 0, 2)
    assert errors(last) == [WorkflowFailed]
    assert str(member.result_id) in last.errors[0].traceback
    assert site.lines("mark") == []


def test_a_workflow_is_cancelled_as_a_whole(site: Site) -> None:
    running, waiting = results = chain(
        (tasks.stoppable, [60]), (tasks.mark, [1]), on_failure=tasks.noop
    ).enqueue()
    with site.worker():
        until(lambda: site.lines("start"), what="it runs")
        assert results.workflow.cancel() == {
            running.result_id: "requested",
            waiting.result_id: "cancelled",
            results.on_failure.result_id: "cancelled",
        }
        assert outcome(results) == ("CANCELLED", 0, 2)
    assert raw(site, running, waiting, results.on_failure) == ["CANCELLED"] * 3
    assert errors(running) == [TaskCancelled]
    assert site.lines("cleaned") == ["cleaned"]
    assert WorkflowRun.objects.using(ALIAS).get().finished_at is not None


def test_a_long_chain_does_not_wait_for_a_clock(site: Site) -> None:
    results = chain(*(call(tasks.add, result_of() if number else 0, 1) for number in range(40))).enqueue()
    with site.worker():
        assert outcome(results) == ("SUCCESSFUL", 40, 0)
    first, last = site.run(results[0]), site.run(results[-1])
    assert last.return_json == 40
    assert last.finished_at - first.started_at < timedelta(seconds=15), "a poll of a second per step"


def test_what_the_earlier_system_left_goes_on(site: Site) -> None:
    """A chain whose first run has not started, and a chord that has lost a member, as its rows say it."""
    one, two, three = (tasks.mark.enqueue(number) for number in range(3))
    for before, after in ((one, two), (two, three)):
        site.runs(pk=after.result_id).update(status="WAITING", parent_id=before.result_id, wait_count=1)
    good, bad, callback = tasks.mark.enqueue(10), tasks.fail.enqueue("no"), tasks.mark.enqueue(11)
    chord_id = "00000000-0000-0000-0000-0000000000aa"
    site.runs(pk__in=[run.result_id for run in (good, bad, callback)]).update(workflow_id=chord_id)
    site.runs(pk=callback.result_id).update(status="WAITING", wait_count=2)
    site.runs(pk=bad.result_id).update(status="FAILED", last_error="no", attempts=3)
    WorkflowRun.objects.using(ALIAS).create(
        workflow_id=chord_id, expected_count=2, callback_result_id=callback.result_id
    )
    apply_schema(connections[ALIAS])
    with site.worker():
        site.ended()
    assert raw(site, one, two, three) == ["SUCCESSFUL"] * 3
    assert [site.run(run).started_at for run in (one, two, three)] == sorted(
        site.run(run).started_at for run in (one, two, three)
    )
    assert raw(site, good, callback) == ["SUCCESSFUL", "FAILED"]
    assert errors(callback) == [WorkflowFailed]
