"""An operator's orders, given through ``manage.py``, and what running workers make of them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from harness import ALIAS, Site, until

from reproq_django.models import QueueControl, TaskControl
from testapp import tasks

MARK = "testapp.tasks.mark"
#: Within this long, a running worker obeys.
PROMPT = timedelta(seconds=1)


def reproq(site: Site, *arguments: str, code: int = 0) -> str:
    """``manage.py reproq <arguments>``; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "reproq", *arguments],
        env=site.environment(REPROQ_WORKER_BIN=str(site.binary)),
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def why(site: Site, result: Any) -> list[str]:
    """The codes of the reasons, the most decisive first."""
    answer = json.loads(reproq(site, "why", result.id, "--json"))
    assert answer["result_id"] == result.result_id
    return [reason["code"] for reason in answer["reasons"]]


def queue_control(name: str = "default") -> QueueControl:
    return QueueControl.objects.using(ALIAS).get(pk=name)


def starts(site: Site, path: str = MARK) -> list[datetime]:
    return sorted(site.runs(task_path=path, started_at__isnull=False).values_list("started_at", flat=True))


def enqueue_for(seconds: float, first: int = 0) -> int:
    """A run every 50 ms; how many."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        tasks.mark.enqueue(first + count)
        count += 1
        time.sleep(0.05)
    return count


def test_a_paused_queue_rests_within_a_second_and_goes_on_within_a_second(site: Site) -> None:
    with site.worker():
        tasks.mark.enqueue(-1)
        site.ended()
        reproq(site, "pause", "--queue", "default", "--reason", "deploy")
        paused_at = queue_control().paused_at
        assert paused_at is not None
        count = enqueue_for(2.5)
        late = [start for start in starts(site) if start > paused_at + PROMPT]
        assert not late, f"paused at {paused_at}"
        assert site.runs(status="READY").count() > count / 3
        reproq(site, "resume-queue", "default")
        resumed_at = queue_control().updated_at
        site.ended()
    held = [start for start in starts(site) if start > paused_at + PROMPT]
    assert resumed_at <= held[0] < resumed_at + PROMPT


def test_a_paused_task_rests_while_others_go_on(site: Site) -> None:
    with site.worker():
        reproq(site, "pause", "--task", MARK)
        control = TaskControl.objects.using(ALIAS).get(pk=MARK)
        assert control.paused_at is not None
        enqueue_for(1.5)
        free = [tasks.echo.enqueue(number) for number in range(20)]
        for result in free:
            result.wait(timeout=30, poll_interval=0.02)
        assert not [start for start in starts(site) if start > control.paused_at + PROMPT]
        assert site.runs(task_path=MARK, status="READY").exists()
        reproq(site, "resume", "--task", MARK)
        control.refresh_from_db()
        site.ended()
    assert control.updated_at <= starts(site)[-1]
    assert [start for start in starts(site) if control.updated_at <= start < control.updated_at + PROMPT]


def test_a_pause_with_an_end_ends_by_itself(site: Site) -> None:
    reproq(site, "pause", "--queue", "default", "--for", "4s")
    resume_at = queue_control().resume_at
    assert resume_at is not None
    with site.worker():
        run = site.run(tasks.mark.enqueue(1).wait(timeout=30, poll_interval=0.02))
    assert run.started_at is not None
    assert resume_at <= run.started_at < resume_at + PROMPT


def test_starts_obey_a_rate_that_an_operator_sets(site: Site) -> None:
    reproq(site, "limit", "set", "--key", f"task:{MARK}", "--rate", "5", "--burst", "2")
    for number in range(12):
        tasks.mark.enqueue(number)
    with site.worker():
        free = tasks.echo.enqueue(1).wait(timeout=30, poll_interval=0.02)
        assert site.runs(task_path=MARK, status="READY").exists(), (
            "what has no rate does not wait for what has"
        )
        assert free.return_value == 1
        site.ended()
    moments = starts(site)
    for first, start in enumerate(moments):
        for last in range(first, len(moments)):
            window = (moments[last] - start).total_seconds()
            # 50 ms: from the decision to the clock of the row.
            assert last - first + 1 <= 2 + 5 * (window + 0.05), (first, last, window)


def test_a_limit_that_an_operator_pins_counts_before_what_enqueues_say(site: Site) -> None:
    reproq(site, "limit", "set", "--key", "concurrency:api", "--max", "2")
    for number in range(8):
        tasks.sleep_and_mark.enqueue(number, 0.2, concurrency_key="api", concurrency_limit=5)
    with site.worker():
        site.ended()
    running = most = 0
    for line in site.lines():
        running += 1 if line.startswith("start") else -1
        most = max(most, running)
    assert most == 2
    assert "concurrency:api\t2\toperator" in reproq(site, "limit", "ls")


def test_why_says_what_is_the_matter(site: Site) -> None:
    scheduled = tasks.mark.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1)
    assert why(site, scheduled) == ["not_due", "no_worker"]
    with site.worker():
        assert why(site, scheduled) == ["not_due"]
        holder = tasks.sleep_and_mark.enqueue(1, 30, lock_key="the-lock")
        until(lambda: site.lines("start 1"), what="the holder runs")
        blocked = tasks.sleep_and_mark.enqueue(2, 0, lock_key="the-lock")
        assert why(site, blocked) == ["lock_held"]
        assert f"held by run {holder.result_id} on worker worker-0" in reproq(site, "why", blocked.id)
        assert why(site, holder) == ["running"]
        failed = tasks.fail.enqueue("no way")
        failed.wait(timeout=30, poll_interval=0.02)
        assert why(site, failed) == ["failed"]
        assert "no way" in reproq(site, "why", failed.id)
        reproq(site, "pause", "--queue", "mail", "--reason", "deploy now")
        paused = tasks.mark.using(queue_name="mail").enqueue(2)
        assert why(site, paused) == ["queue_paused", "no_worker"]
        assert "deploy now" in reproq(site, "why", paused.id)
        reproq(site, "cancel", str(holder.result_id), "--wait", "20")
        assert why(site, holder) == ["cancelled"]
        site.runs(pk__in=[scheduled.result_id, paused.result_id]).delete()
        site.ended()


def test_why_names_what_is_full_and_what_is_spent(site: Site) -> None:
    reproq(site, "limit", "set", "--key", "concurrency:api", "--max", "1")
    reproq(site, "limit", "set", "--key", "task:testapp.tasks.echo", "--rate", "0.01")
    with site.worker("--concurrency", "2"):
        tasks.echo.enqueue(1).wait(timeout=30, poll_interval=0.02)
        spent = tasks.echo.enqueue(2)
        assert why(site, spent) == ["rate_spent"]
        holder = tasks.sleep_and_mark.enqueue(1, 30, concurrency_key="api", concurrency_limit=9)
        until(lambda: site.lines("start 1"), what="the holder runs")
        full = tasks.sleep_and_mark.enqueue(2, 0, concurrency_key="api", concurrency_limit=9)
        assert why(site, full) == ["limit_reached"]
        other = tasks.sleep_and_mark.enqueue(3, 30)
        until(lambda: site.lines("start 3"), what="no slot is left")
        waiting = [tasks.mark.enqueue(number) for number in range(2)]
        assert why(site, waiting[0]) == ["no_free_slot"]
        assert why(site, waiting[1]) == ["no_free_slot", "in_line"]
        for result in (spent, full, holder, other):
            reproq(site, "cancel", result.id)
        site.ended()


def test_why_names_a_module_that_is_not_allowed(site: Site) -> None:
    with site.worker(ALLOWED_TASK_MODULES="reproq_django"):
        result = tasks.mark.enqueue(1)
        site.ended()
    assert why(site, result) == ["not_allowed"]


def test_failed_runs_are_listed_and_retried(site: Site) -> None:
    with site.worker():
        result = tasks.fail.enqueue("broken\nfor now")
        site.ended()
        line = reproq(site, "triage", "list").splitlines()[1].split("\t")
        assert line[:4] == [str(result.result_id), "default", "testapp.tasks.fail", "1/1"]
        assert line[5] == "broken for now"
        assert reproq(site, "triage", "retry", "--all") == "1 retried\n"
        until(lambda: len(site.run(result).errors_json) == 2, what="it runs again")
        site.ended()
        replayed = json.loads(reproq(site, "replay", "--id", str(result.result_id), "--json"))
        assert replayed["result_id"] != result.result_id
        until(lambda: site.runs(pk=replayed["result_id"], status="FAILED").exists(), what="the replay runs")
    assert "2 runs deleted" in reproq(site, "prune", "--older-than", "0s")
    assert not site.runs().exists()


def test_runs_of_a_silent_worker_are_taken_back(site: Site) -> None:
    lapsed, alone, held = (tasks.mark.enqueue(number) for number in range(3))
    past, later = timezone.now() - timedelta(minutes=1), timezone.now() + timedelta(minutes=1)
    for result, lease in ((lapsed, past), (alone, None), (held, later)):
        site.runs(pk=result.result_id).update(status="RUNNING", attempts=1, leased_until=lease)
    assert why(site, lapsed) == ["lease_ended"]
    assert reproq(site, "reclaim", "--older-than", "1h") == "0 runs taken back\n"
    assert reproq(site, "reclaim", "--dry-run", "--include-null-lease") == "2 runs would be taken back\n"
    assert reproq(site, "reclaim", "--limit", "1") == "1 run taken back\n"
    assert (site.run(lapsed).status, site.run(alone).status) == ("READY", "RUNNING")
    assert reproq(site, "reclaim", "--include-null-lease", "--action", "fail") == "1 run taken back\n"
    assert (site.run(alone).status, site.run(held).status) == ("FAILED", "RUNNING")


def test_a_scheduled_run_is_moved_to_now(site: Site) -> None:
    with site.worker():
        result = tasks.mark.using(run_after=timezone.now() + timedelta(hours=1)).enqueue(1)
        reproq(site, "reschedule", result.id, "--now")
        run_after = site.run(result).run_after
        run = site.run(result.wait(timeout=30, poll_interval=0.02))
    assert run_after is not None
    assert run.started_at is not None
    assert run.started_at < run_after + PROMPT


@pytest.mark.parametrize("command", [["why"], ["cancel"], ["reschedule", "--now"], ["triage", "inspect"]])
def test_an_unknown_id_is_told(site: Site, command: list[str]) -> None:
    reproq(site, *command, "424242", code=1)
