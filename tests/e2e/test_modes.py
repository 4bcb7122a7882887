"""Where runs are executed: warm, forked, in a process of their own, or beside others in one."""

import os
import signal
import time
from typing import Any

import pytest
from django.tasks import default_task_backend
from harness import Site, alive, until

from testapp import tasks

MIB = 1024 * 1024


def returned(results: list[Any], *, seconds: float = 30) -> list[Any]:
    return [result.wait(timeout=seconds, poll_interval=0.02).return_value for result in results]


def record(site: Site, result: Any) -> dict[str, Any]:
    """The last entry of the run's history."""
    entry: dict[str, Any] = site.run(result).attempts_json[-1]
    return entry


def test_a_forked_child_has_one_run_and_a_warm_one_many(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        warm = returned([tasks.process_of.enqueue(number) for number in range(3)])
        forked = returned([tasks.forked.enqueue(number) for number in range(3)])
        again = returned([tasks.process_id.enqueue()])
    assert len(set(warm)) == 1
    assert len({*forked, *warm}) == 4
    assert again == warm[:1], "the warm child waits for its next turn"


def test_queues_and_tasks_choose_how_they_run(site: Site) -> None:
    flags = ("--concurrency", "1", "--queues", "*", "--queue-modes", "mail=fork,reports-*=process")
    with site.worker(*flags) as worker:
        pids = returned([tasks.process_of.using(queue_name="mail").enqueue(number) for number in range(2)])
        own = returned(
            [tasks.process_of.using(queue_name="reports-eu").enqueue(number) for number in range(2)]
        )
        by_task = returned([tasks.in_a_process_of_its_own.enqueue()])
        assert len({*pids, *own}) == 4
        assert by_task[0][1] == ["--result-id"]
        children = worker.children()
    assert not {*pids, *own} & children


def test_a_whole_worker_forks(site: Site) -> None:
    with site.worker("--concurrency", "2", "--executor-mode", "fork"):
        pids = returned([tasks.process_of.enqueue(number) for number in range(20)])
    assert len(set(pids)) == 20


def test_a_worker_that_forks_has_the_next_child_ready(site: Site) -> None:
    with site.worker("--concurrency", "1", "--executor-mode", "fork") as worker:
        for number in range(3):
            until(lambda: len(worker.children()) == 1, what="the next child is there, and no other")
            ahead = worker.children()
            assert set(returned([tasks.process_of.enqueue(number)])) == ahead


def test_a_child_that_dies_before_it_has_a_run_costs_nobody_an_attempt(site: Site) -> None:
    with site.worker("--concurrency", "1", "--executor-mode", "fork") as worker:
        until(lambda: len(worker.children()) == 1, what="a child is forked ahead")
        (ahead,) = worker.children()
        os.kill(ahead, signal.SIGKILL)
        until(lambda: not worker.children(), what="it is gone")
        (pid,) = returned([tasks.process_of.enqueue(0)])
    assert pid != ahead
    assert set(site.runs().values_list("status", "attempts")) == {("SUCCESSFUL", 1)}


def test_coroutines_share_a_child_and_do_not_take_slots(site: Site) -> None:
    with site.worker("--concurrency", "1", "--async-concurrency", "50"):
        returned([tasks.sleep_async.enqueue(0)])
        busy = tasks.sleep_and_mark.enqueue(1, 3)
        until(lambda: site.run(busy).status == "RUNNING", what="the only slot is taken")
        since = time.monotonic()
        results = [tasks.sleep_async.enqueue(1, number) for number in range(50)]
        pids = returned(results)
        assert len(set(pids)) == 1
        assert time.monotonic() - since < 20
    started = [run.last_attempted_at for run in site.runs(pk__in=[r.result_id for r in results])]
    ended = [run.finished_at for run in site.runs(pk__in=[r.result_id for r in results])]
    assert max(started) < min(ended), "all of them ran at the same time"


def test_a_coroutine_has_its_own_timeout_and_cancellation(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        other = tasks.sleep_async.enqueue(4)
        late = tasks.sleep_async_beyond_timeout.enqueue()
        cancelled = tasks.stoppable_async.enqueue(60)
        until(lambda: len(site.lines("start")) == 2, what="both run")
        cancelled.cancel()
        until(lambda: site.run(cancelled).status == "CANCELLED", what="one is cancelled")
        until(lambda: site.run(late).status == "FAILED", what="one takes too long")
        pid = other.wait(timeout=30, poll_interval=0.02).return_value
    assert site.run(late).errors_json[-1]["kind"] == "timeout"
    assert site.run(other).attempts == 1
    assert pid is not None


def test_who_keeps_the_loop_is_held_responsible(site: Site) -> None:
    with site.worker("--concurrency", "1") as worker:
        bystander = tasks.sleep_async.enqueue(12)
        until(lambda: site.run(bystander).status == "RUNNING", what="the bystander runs")
        keeper = tasks.keep_the_loop.enqueue(60)
        until(lambda: site.run(keeper).status == "FAILED", seconds=40, what="the keeper is stopped")
        until(lambda: site.run(bystander).status == "SUCCESSFUL", seconds=60, what="the bystander ends")
        assert "keeps the event loop" in worker.said
    assert site.run(bystander).attempts == 1
    assert site.run(keeper).errors_json[-1]["kind"] in ("timeout", "crashed")


def test_who_shares_a_child_that_dies_is_tried_again_alone(site: Site) -> None:
    with site.worker("--concurrency", "2"):
        bystanders = [tasks.sleep_async.enqueue(2, number) for number in range(3)]
        until(lambda: site.runs(status="RUNNING").count() == 3, what="they run")
        poison = tasks.exit_hard_async.enqueue(0.2)
        returned(bystanders)
        until(lambda: site.run(poison).status == "FAILED", what="the poison is found")
    assert [run.attempts for run in site.runs(pk__in=[b.result_id for b in bystanders])] == [1, 1, 1]
    error = site.run(poison).errors_json[-1]
    assert (error["kind"], "exit code 3" in error["message"]) == ("crashed", True)


def test_what_coroutines_print_is_told_apart(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        results = {word: tasks.print_async.enqueue(word, 5) for word in ("left", "right")}
        returned(list(results.values()))
    for word, result in results.items():
        assert result.logs() == "".join(f"{word} {number}\n" for number in range(5))


def test_functions_share_children_in_threads(site: Site) -> None:
    with site.worker("--concurrency", "4", "--threads", "4"):
        pids = returned([tasks.thread_name.enqueue(number) for number in range(4)])
    assert len(set(pids)) == 1
    assert len({line.split()[2] for line in site.lines("thread")}) == 4


def test_a_child_is_replaced_after_so_many_runs(site: Site) -> None:
    with site.worker("--concurrency", "1", "--max-tasks-per-child", "5"):
        pids = [returned([tasks.process_of.enqueue(number)])[0] for number in range(30)]
    assert 4 <= len(set(pids)) <= 7


def test_a_child_is_replaced_though_there_is_always_more_for_it(site: Site) -> None:
    default_task_backend.bulk_enqueue([(tasks.process_of, (number,), {}) for number in range(3000)])
    with site.worker("--concurrency", "1", "--max-tasks-per-child", "200"):
        until(lambda: site.runs(status="SUCCESSFUL").count() == 3000, what="all have run")
    assert len(set(site.runs().values_list("return_json", flat=True))) >= 3


def test_a_child_that_grows_is_replaced(site: Site) -> None:
    with site.worker("--concurrency", "1", "--max-child-growth-mb", "50"):
        results = [tasks.leak.enqueue(5, number) for number in range(60)]
        pids = returned(results, seconds=60)
    assert len(set(pids)) >= 3
    peaks = [record(site, result)["max_rss_kib"] * 1024 for result in results]
    assert max(peaks) < min(peaks) + 150 * MIB


@pytest.mark.parametrize("where", ["python", "elsewhere"])
def test_a_task_beyond_its_memory_fails_by_name(site: Site, where: str) -> None:
    with site.worker("--concurrency", "1"):
        result = tasks.eat.enqueue(400, where)
        until(lambda: site.run(result).status == "FAILED", what="the task is stopped")
        assert returned([tasks.add.enqueue(1, 1)]) == [2]
    assert site.run(result).errors_json[-1]["kind"] == "memory_limit"


def test_a_task_may_ask_for_more_time(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        returned([tasks.take_more_time.enqueue(3)])
    assert site.runs().get().status == "SUCCESSFUL"


def test_progress_is_readable_while_the_task_runs(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        result = tasks.report_progress.enqueue(3)
        seen = set()

        def look() -> bool:
            result.refresh()
            if result.progress is not None:
                seen.add(result.progress.current)
            return bool(result.is_finished)

        until(look, what="the task ends")
    assert seen >= {1, 2}
    assert (result.progress.current, result.progress.total, result.progress.message) == (3, 3, "step 3")


def test_a_snooze_costs_no_attempt(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        result = tasks.snooze.enqueue(5)
        assert returned([result]) == ["awake"]
    assert site.run(result).attempts == 1
    outcomes = [entry["outcome"] for entry in site.run(result).attempts_json]
    assert outcomes == ["snoozed"] * 5 + ["returned"]


@pytest.mark.parametrize(
    ("name", "status", "attempts", "kind"),
    [
        ("retry", "FAILED", 3, "app_error"),
        ("discard", "FAILED", 1, "given_up"),
        ("cancel", "CANCELLED", 1, "cancelled"),
    ],
)
def test_a_task_says_what_becomes_of_its_run(
    site: Site, name: str, status: str, attempts: int, kind: str
) -> None:
    with site.worker("--concurrency", "1"):
        result = tasks.wish.enqueue(name)
        site.ended()
    run = site.run(result)
    assert (run.status, run.attempts, run.errors_json[-1]["kind"]) == (status, attempts, kind)


@pytest.mark.parametrize(
    ("name", "attempts", "kind"),
    [("connection", 3, "app_error"), ("key", 1, "given_up"), ("value", 1, "given_up")],
)
def test_only_what_is_worth_it_is_tried_again(site: Site, name: str, attempts: int, kind: str) -> None:
    with site.worker("--concurrency", "1"):
        result = tasks.fail_as.enqueue(name)
        site.ended()
    run = site.run(result)
    assert (run.status, run.attempts, run.errors_json[-1]["kind"]) == ("FAILED", attempts, kind)


def test_a_soft_timeout_stops_the_task_and_leaves_its_process(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        pid = returned([tasks.process_id.enqueue()])
        result = tasks.stop_softly.enqueue()
        site.ended()
        assert returned([tasks.process_id.enqueue()]) == pid
    run = site.run(result)
    assert (run.status, run.attempts, run.errors_json[-1]["kind"]) == ("FAILED", 2, "timeout")
    assert run.errors_json[-1]["exception_class"] == "reproq_django.errors.SoftTimeout"


def test_a_run_that_kills_its_process_three_times_is_quarantined(site: Site) -> None:
    with site.worker("--concurrency", "1"):
        result = tasks.crash_always.using(max_attempts=10).enqueue()
        site.ended()
    run = site.run(result)
    assert (run.status, run.attempts, run.crash_count) == ("FAILED", 3, 3)
    result.refresh()
    assert result.errors[-1].exception_class_path == "reproq_django.errors.TaskQuarantined"
    assert [entry["exit"] for entry in run.attempts_json] == ["signal 11 (SIGSEGV)"] * 3


def test_a_site_that_cannot_be_forked_has_its_children_started(site: Site) -> None:
    with site.worker("--concurrency", "2", REPROQ_E2E_THREAD="1") as worker:
        assert "at-import" in worker.said
        pids = returned([tasks.process_of.enqueue(number) for number in range(20)])
        assert len(set(pids)) <= 2
        assert set(pids).isdisjoint({os.getpid(), worker.process.pid})
        crash = tasks.exit_hard.enqueue(3)
        until(lambda: site.run(crash).status == "FAILED", what="the crash is found")
        coroutines = returned([tasks.sleep_async.enqueue(0.2, number) for number in range(10)])
        assert len(set(coroutines)) == 1
        assert returned([tasks.add.enqueue(1, 1)]) == [2]
        children = worker.family()
    assert "exit code 3" in site.run(crash).errors_json[-1]["message"]
    assert not alive(children)


def test_a_task_may_clean_up_when_the_worker_cannot_wait(site: Site) -> None:
    with site.worker("--concurrency", "2") as worker:
        cleans_up = tasks.stoppable.enqueue(60)
        is_done = tasks.stop_early.enqueue(60)
        until(lambda: len(site.lines("start")) == 2, what="both run")
        worker.signal(signal.SIGTERM)
        until(lambda: "waiting for running attempts" in worker.said, what="the worker drains")
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() == 0
    assert site.lines("cleaned")
    run = site.run(cleans_up)
    assert (run.status, run.attempts) == ("READY", 0), "it is not charged"
    assert site.run(is_done).status == "SUCCESSFUL"
