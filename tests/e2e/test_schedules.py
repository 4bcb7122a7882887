"""Schedules from Python's side: rows that the site makes, what real schedulers and workers make of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from harness import ALIAS, Site, until

from reproq_django.binary import BinaryRefusal
from reproq_django.models import PeriodicRun, PeriodicTask, TaskRun
from reproq_django.serialization import encode
from testapp import tasks

#: What the plan promises of a schedule that is due now.
PROMPT = timedelta(seconds=1)
#: No look comes by itself within a test.
SELDOM = "--interval=10m"


def make(name: str = "a", **columns: Any) -> PeriodicTask:
    """A schedule that is due; daily, so that it is due once."""
    columns = {
        "cron_expr": "0 2 * * *",
        "task_path": "testapp.tasks.mark",
        "payload_json": {"args": [1]},
        "next_run_at": timezone.now(),
        **columns,
    }
    return PeriodicTask.objects.using(ALIAS).update_or_create(name=name, defaults=columns)[0]


def ticks(name: str = "a") -> list[str]:
    """Oldest first."""
    found = PeriodicRun.objects.using(ALIAS).filter(name=name).order_by("scheduled_at")
    return list(found.values_list("state", flat=True))


def reproq(site: Site, *words: str, code: int = 0) -> str:
    """``manage.py reproq <words>``; what it prints."""
    return manage(site, "reproq", *words, code=code)


def manage(site: Site, *words: str, code: int = 0, **environment: str) -> str:
    """``manage.py <words>``; what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "django", *words],
        env=site.environment(REPROQ_WORKER_BIN=str(site.binary), **environment),
        cwd=site.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@contextmanager
def beat(site: Site, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """A scheduler of its own, through ``manage.py``, which becomes the binary; it ends in peace."""
    log = Path(site.folder) / f"beat-{len(list(site.folder.glob('beat-*')))}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "reproq", "beat", *flags],
            env=site.environment(REPROQ_WORKER_BIN=str(site.binary)),
            cwd=site.folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        # Until it is the binary, a signal is Django's.
        until(lambda: "scheduler started" in log.read_text() or process.poll() is not None, what="it starts")
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        code = process.wait(20)
    assert code == 0, log.read_text()


def fired(count: int = 1) -> list[TaskRun]:
    """The runs, as soon as there are so many."""
    runs = TaskRun.objects.using(ALIAS).order_by("result_id")
    until(lambda: runs.count() >= count, what=f"{count} runs")
    return list(runs)


def delays(site: Site) -> timedelta:
    """The best of three: how long after its time a schedule is enqueued by schedulers that sleep."""
    found = []
    for number in range(3):
        due = make(f"s{number}").next_run_at
        found.append(fired(number + 1)[-1].enqueued_at - due)
    return min(found)


def test_a_schedule_that_is_due_now_wakes_a_scheduler(site: Site) -> None:
    make("first")
    with beat(site, SELDOM):
        fired()
        TaskRun.objects.using(ALIAS).all().delete()
        assert delays(site) < PROMPT


def test_a_worker_with_beat_runs_what_is_due(site: Site) -> None:
    with site.worker("--beat"):
        assert delays(site) < PROMPT
        site.ended()
    assert site.lines() == ["mark 1"] * 3
    schedule = PeriodicTask.objects.using(ALIAS).get(name="s0")
    assert schedule.last_run_at is not None
    assert schedule.next_run_at > timezone.now()
    assert [tick.outcome for tick in schedule.history()] == ["Successful"]


def test_a_run_has_what_an_enqueue_would_give_it(site: Site) -> None:
    value = {"when": datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), "much": Decimal("1.10"), "text": "žluť"}
    make(task_path="testapp.tasks.with_options", payload_json={})
    make("b", task_path="testapp.tasks.limited_above", payload_json=["acme"])
    make("c", task_path="testapp.tasks.echo", payload_json={"args": [encode(value, "x")]})
    make("d", task_path="testapp.tasks.echo", payload_json={"value": 1.5}, queue_name="mail", priority=7)
    reproq(site, "beat", "--once")
    scheduled = {row.spec_json["periodic_name"]: row for row in fired(4)}
    tasks.with_options.enqueue()
    tasks.limited_above.enqueue("acme")
    tasks.echo.enqueue(value)
    tasks.echo.using(queue_name="mail", priority=7).enqueue(value=1.5)
    plain = dict(zip("abcd", fired(8)[4:], strict=True))
    columns = (
        "backend_alias", "task_path", "queue_name", "timeout_seconds", "lock_key", "concurrency_key",
        "concurrency_limit", "fairness_key", "rate_key", "rate_per_second", "rate_burst", "over_limit",
    )  # fmt: skip
    for name, run in plain.items():
        found = scheduled[name]
        assert {each: getattr(found, each) for each in columns} == {
            each: getattr(run, each) for each in columns
        }
        spec = dict(found.spec_json)
        assert spec.pop("periodic_name") == name
        assert datetime.fromisoformat(spec.pop("scheduled_at")) < timezone.now()
        # How often it is tried, the row says.
        spec["exec"]["max_attempts"] = run.spec_json["exec"]["max_attempts"]
        assert spec == run.spec_json
        assert found.dedup == 0
    assert scheduled["a"].timeout_seconds != 900, "the task has options"
    assert (scheduled["a"].expires_at is None) == (plain["a"].expires_at is None)


def test_the_zone_of_a_schedule(site: Site) -> None:
    make(cron_expr="0 9 * * *", timezone="Asia/Tokyo", next_run_at=None)
    make("b", cron_expr="CRON_TZ=Asia/Tokyo 0 9 * * *", timezone="UTC", next_run_at=None)
    foreseen = PeriodicTask.objects.using(ALIAS).get(name="a").next_runs(1)
    reproq(site, "schedule")
    rows = PeriodicTask.objects.using(ALIAS)
    for row in rows.all():
        assert (row.next_run_at.hour, row.next_run_at.minute, row.rebase) == (0, 0, False)
        assert [row.next_run_at] == foreseen
    assert not TaskRun.objects.using(ALIAS).exists(), "nothing fires by itself"


@pytest.mark.parametrize(
    ("overlap", "states", "runs"),
    [
        ("allow", ["enqueued", "enqueued", "enqueued"], ["READY", "READY", "READY"]),
        ("skip", ["enqueued", "skipped", "skipped"], ["READY"]),
        ("queue_one", ["enqueued", "skipped", "skipped"], ["READY"]),
        ("cancel_previous", ["enqueued"] * 3, ["CANCELLED", "CANCELLED", "READY"]),
    ],
)
def test_overlap(site: Site, overlap: str, states: list[str], runs: list[str]) -> None:
    for _ in range(3):
        make(overlap=overlap)
        reproq(site, "beat", "--once")
    assert ticks() == states
    assert [run.status for run in fired()] == runs
    locks = {run.lock_key for run in fired()}
    assert locks == ({None} if overlap in ("allow", "skip") else {"schedule:a"})


def test_run_now(site: Site, settings: Any) -> None:
    settings.REPROQ_WORKER_BIN = str(site.binary)
    tomorrow = timezone.now() + timedelta(days=1)
    schedule = make(next_run_at=tomorrow, queue_name="mail")
    result = schedule.run_now()
    assert (result.task.module_path, result.args, result.raw_status) == ("testapp.tasks.mark", [1], "READY")
    assert ticks() == ["manual"]
    assert PeriodicTask.objects.using(ALIAS).get().next_run_at == tomorrow
    (tick,) = schedule.history()
    assert (tick.result_id, tick.outcome) == (result.result_id, "Ready")
    with site.worker("--queues", "mail"):
        site.ended()
    assert schedule.history()[0].outcome == "Successful"
    schedule.delete()
    with pytest.raises(BinaryRefusal, match='there is no schedule "a"'):
        PeriodicTask(name="a", task_path="x").run_now()


SHOP = """
from django.tasks import task
from reproq_django.recurring import recurring
from testapp.tasks import witness

@recurring(every=1, key="often", args=("x",))
@task
def above(word):
    witness(f"above {word}")

@task
@recurring(schedule="0 2 * * *", key="nightly", timezone="Europe/Prague")
def below():
    witness("below")
"""


def test_what_the_code_declares_is_stored_by_migrate_and_fires(site: Site) -> None:
    folder = site.folder / "shop"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "tasks.py").write_text(SHOP)
    shop = {
        "REPROQ_E2E_APPS": "shop",
        "PYTHONPATH": f"{site.environment()['PYTHONPATH']}{os.pathsep}{site.folder}",
    }
    assert "Schedule nightly: created" in manage(site, "migrate", **shop)
    assert "Schedule" not in manage(site, "migrate", **shop)
    assert not TaskRun.objects.using(ALIAS).exists()
    with site.worker("--beat", **shop, ALLOWED_TASK_MODULES="shop"):
        until(lambda: len(site.lines("above x")) > 1, what="it fires")
    assert site.lines("below") == [], "its time has not come"
    often = PeriodicTask.objects.using(ALIAS).get(name="often")
    moved = PeriodicTask.objects.using(ALIAS).get(name="nightly").next_run_at
    # A deploy changes the one and leaves the other alone.
    (folder / "tasks.py").write_text(SHOP.replace("every=1", "every=3600"))
    assert "Schedule often: changed" in manage(site, "migrate", **shop)
    before = TaskRun.objects.using(ALIAS).count()
    manage(site, "reproq", "schedule", **shop)
    assert TaskRun.objects.using(ALIAS).count() == before, "nothing fires because of a deploy"
    rows = PeriodicTask.objects.using(ALIAS)
    assert rows.get(name="often").next_run_at > often.next_run_at + timedelta(minutes=30)
    assert rows.get(name="nightly").next_run_at == moved
    (folder / "tasks.py").write_text("")
    manage(site, "reproq", "sync-recurring", "--clear-missing", **shop)
    assert not rows.exists()


def test_two_schedulers_fire_each_tick_once(site: Site) -> None:
    with beat(site), beat(site):
        make(cron_expr="", every_seconds=1, catch_up="all")
        fired(5)
        PeriodicTask.objects.using(ALIAS).update(enabled=False)
    runs = fired()
    moments = [datetime.fromisoformat(run.spec_json["scheduled_at"]) for run in runs]
    assert len(set(moments)) == len(runs) == len(ticks())
    assert {second - first for first, second in pairwise(moments)} == {timedelta(seconds=1)}


def test_a_schedule_with_a_mistake_holds_up_no_other(site: Site) -> None:
    make("bad", cron_expr="0 25 * * *")
    make("worse", task_path="elsewhere.task", payload_json=5)
    make()
    with beat(site):
        fired()
        problems = PeriodicTask.objects.using(ALIAS).filter(problem__isnull=False)
        until(lambda: problems.count() == 2, what="the problems are noted")
    assert ticks() == ["enqueued"]
    said = reproq(site, "check", code=1)
    assert "schedules default: The schedule 'bad' in 'default' cannot fire" in said
    make("bad", cron_expr="0 2 * * *")
    PeriodicTask.objects.using(ALIAS).filter(name="worse").delete()
    reproq(site, "beat", "--once")
    assert PeriodicTask.objects.using(ALIAS).get(name="bad").problem is None
    assert "schedules default: 2 enabled, no problem found" in reproq(site, "check")


def test_a_raw_row_of_the_earlier_system_works(site: Site) -> None:
    # Not saved: nothing of ours has seen it.
    raw = PeriodicTask(
        name="raw",
        cron_expr="*/5 * * * *",
        task_path="testapp.tasks.mark",
        payload_json={"args": [3]},
        next_run_at=timezone.now(),
    )
    PeriodicTask.objects.using(ALIAS).bulk_create([raw])
    with site.worker("--beat"):
        until(lambda: site.lines() == ["mark 3"], what="it runs")


def test_pg_crons_word_makes_any_worker_tick(site: Site) -> None:
    if not site.is_postgres:
        # There is no such word on SQLite, and a worker without --beat stays a worker.
        with site.worker():
            make()
            tasks.mark.enqueue(2)
            until(lambda: site.lines() == ["mark 2"], what="the worker works")
        assert ticks() == []
        return
    with site.worker():
        make()
        tasks.mark.enqueue(2)
        until(lambda: site.lines() == ["mark 2"], what="the worker works")
        assert ticks() == []
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT pg_notify('reproq_schedule', 'tick')")
        until(lambda: site.lines() == ["mark 2", "mark 1"], what="the schedule fires")


def test_an_operator_looks_and_switches(site: Site) -> None:
    make(next_run_at=timezone.now() + timedelta(days=1))
    (row,) = json.loads(reproq(site, "periodic", "list", "--json"))["schedules"]
    assert (row["name"], row["enabled"]) == ("a", True)
    reproq(site, "periodic", "disable", "a")
    assert not PeriodicTask.objects.using(ALIAS).get().enabled
    reproq(site, "periodic", "enable", "a")
    assert "enqueued as run" in reproq(site, "periodic", "run", "a")
    assert json.loads(reproq(site, "periodic", "show", "a", "--json"))["ticks"][0]["state"] == "manual"
    assert len(reproq(site, "cron", "next", "0 2 * * *", "--tz", "Europe/Prague").splitlines()) == 5
