"""Chains and chords that the earlier system has left half-way, after `manage.py migrate`."""

from __future__ import annotations

from itertools import count
from typing import Any
from uuid import UUID

import pytest
from tools.postgres import PostgresCluster

from upgrade.sites import HERE, PostgresSite, Site, SqliteSite

_numbers = count()


@pytest.fixture(params=["made_by_sql.postgres", "made_by_django.postgres", "made_by_django.sqlite"])
def site(
    request: pytest.FixtureRequest,
    postgres_cluster: PostgresCluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    """A database of the earlier system; Django's own shape lacks workflow_runs, which chords need."""
    number, vendor = next(_numbers), request.param.rpartition(".")[2]
    site: Site = (
        PostgresSite(postgres_cluster, f"workflows_{number}")
        if vendor == "postgres"
        else SqliteSite(tmp_path_factory.mktemp("workflows") / f"{number}.sqlite3")
    )
    site.sql((HERE / f"{request.param}.sql").read_text())
    if request.param.startswith("made_by_django"):
        identity, moment = ("UUID", "TIMESTAMPTZ") if vendor == "postgres" else ("CHAR(32)", "DATETIME")
        site.sql(f"""
            CREATE TABLE workflow_runs (
                workflow_id {identity} NOT NULL PRIMARY KEY, expected_count INTEGER NOT NULL,
                success_count INTEGER NOT NULL, failure_count INTEGER NOT NULL, callback_result_id BIGINT,
                status TEXT NOT NULL, created_at {moment} NOT NULL, updated_at {moment} NOT NULL);
        """)
    return site


def wf(number: int) -> str:
    return UUID(int=number).hex


def run(
    number: int, status: str, workflow: int | None, *, parent: int | None = None, waits_for: int = 0
) -> str:
    """An INSERT as it fits both shapes."""
    finished = "'2026-01-01 00:00:01'" if status in ("SUCCESSFUL", "FAILED", "CANCELLED") else "NULL"
    moment = "'2026-01-01 00:00:00'"
    spec = f'{{"v":1,"task_path":"testapp.tasks.mark","args":[{number}]}}'
    workflow_id = f"'{wf(workflow)}'" if workflow else "NULL"
    return f"""
        INSERT INTO task_runs (
            result_id, backend_alias, queue_name, priority, spec_json, spec_hash, task_path, status,
            enqueued_at, attempts, max_attempts, timeout_seconds, concurrency_limit, worker_ids, errors_json,
            metadata_json, wait_count, created_at, updated_at, cancel_requested, parent_id, workflow_id,
            finished_at)
        VALUES (
            {number}, 'default', 'default', 0, '{spec}', '{number:064x}', 'testapp.tasks.mark', '{status}',
            {moment}, 0, 3, 900, 0, '[]', '[]', '{{}}', {waits_for}, {moment}, {moment}, FALSE,
            {parent or "NULL"}, {workflow_id}, {finished});"""


def chord(number: int, expected: int, callback: int | None, status: str = "RUNNING", good: int = 0) -> str:
    moment = "'2026-01-01 00:00:00'"
    return f"""
        INSERT INTO workflow_runs (
            workflow_id, expected_count, success_count, failure_count, callback_result_id, status, created_at,
            updated_at)
        VALUES (
            '{wf(number)}', {expected}, {good}, 0, {callback or "NULL"}, '{status}', {moment}, {moment});"""


def places(site: Site, workflow: int) -> dict[int, tuple[Any, Any]]:
    found = site.rows(f"""SELECT result_id, step, after_step FROM task_runs
                           WHERE workflow_id = '{wf(workflow)}' ORDER BY result_id""")
    return {number: (step, after) for number, step, after in found}


def steps(site: Site, workflow: int) -> list[tuple[Any, ...]]:
    """(step, pending, failed, culprit); each of them has an event, so that a worker looks at it."""
    found = site.rows(f"""SELECT step, pending, failed, culprit FROM reproq_workflow_steps
                           WHERE workflow_id = '{wf(workflow)}' ORDER BY step""")
    events = site.rows(f"""SELECT step, ended, failed FROM reproq_workflow_events
                            WHERE workflow_id = '{wf(workflow)}' ORDER BY step""")
    assert events == [(step, 0, 0) for step, *_ in found]
    return found


def row(site: Site, workflow: int) -> tuple[Any, ...]:
    (found,) = site.rows(f"""SELECT status, expected_count, success_count, failure_count, final_step, policy
                               FROM workflow_runs WHERE workflow_id = '{wf(workflow)}'""")
    return tuple(found)


def migrated(site: Site, *rows: str) -> None:
    site.sql("".join(rows))
    site.migrate()
    before = site.contents()
    site.migrate("reproq", "migrate-worker")
    assert site.contents() == before, "nothing is found the second time"


def test_a_chain_goes_on_where_it_is(site: Site) -> None:
    migrated(
        site,
        run(1, "SUCCESSFUL", 1),
        run(2, "RUNNING", 1, parent=1),
        run(3, "WAITING", 1, parent=2, waits_for=1),
        run(4, "WAITING", 1, parent=3, waits_for=1),
        # Another one, and runs that wait for nobody.
        run(5, "READY", 2),
        run(6, "WAITING", 2, parent=5, waits_for=1),
        run(7, "READY", 3),
        run(8, "READY", None),
    )
    assert places(site, 1) == {1: (None, None), 2: (1, None), 3: (2, 1), 4: (3, 2)}
    assert steps(site, 1) == [(1, 1, 0, None), (2, 1, 0, None), (3, 1, 0, None)]
    assert row(site, 1) == ("RUNNING", 3, 0, 0, 3, "fail")
    assert places(site, 2) == {5: (1, None), 6: (2, 1)}
    assert places(site, 3) == {7: (None, None)}
    assert len(site.rows("SELECT 1 FROM workflow_runs")) == 2


@pytest.mark.parametrize(
    ("status", "failed", "culprit"), [("FAILED", 1, 1), ("CANCELLED", 1, 1), ("SUCCESSFUL", 0, None)]
)
def test_a_chain_whose_run_has_ended(site: Site, status: str, failed: int, culprit: int | None) -> None:
    migrated(site, run(1, status, 1), run(2, "WAITING", 1, parent=1, waits_for=1))
    assert places(site, 1) == {1: (1, None), 2: (2, 1)}
    assert steps(site, 1) == [(1, 0, failed, culprit), (2, 1, 0, None)]
    assert row(site, 1) == ("RUNNING", 2, 1 - failed, failed, 2, "fail")


def test_a_chain_whose_run_is_gone(site: Site) -> None:
    """Had it succeeded, nothing would wait for it any more."""
    migrated(
        site,
        run(2, "WAITING", 1, waits_for=1),
        run(3, "WAITING", 1, parent=2, waits_for=1),
        run(4, "WAITING", 2, waits_for=1),
    )
    assert places(site, 1) == {2: (1, 0), 3: (2, 1)}
    assert steps(site, 1) == [(0, 0, 1, None), (1, 1, 0, None), (2, 1, 0, None)]
    assert (places(site, 2), steps(site, 2)) == ({4: (1, 0)}, [(0, 0, 1, None), (1, 1, 0, None)])


def test_a_chain_without_a_workflow_and_with_branches(site: Site) -> None:
    migrated(
        site,
        run(26, "RUNNING", None),
        run(27, "WAITING", None, parent=26, waits_for=1),
        run(28, "WAITING", None, parent=26, waits_for=1),
        run(29, "WAITING", None, parent=27, waits_for=1),
    )
    assert places(site, 26) == {26: (1, None), 27: (2, 1), 28: (3, 1), 29: (3, 2)}
    assert steps(site, 26) == [(1, 1, 0, None), (2, 1, 0, None), (3, 2, 0, None)]


def test_a_chord_is_counted_anew(site: Site) -> None:
    """The earlier system does not count what ends before the row is there."""
    migrated(
        site,
        chord(1, 3, callback=4, good=0),
        run(1, "SUCCESSFUL", 1),
        run(2, "FAILED", 1),
        run(3, "RUNNING", 1),
        run(4, "WAITING", 1, waits_for=3),
    )
    assert places(site, 1) == {1: (1, None), 2: (1, None), 3: (1, None), 4: (2, 1)}
    assert steps(site, 1) == [(1, 1, 1, 2), (2, 1, 0, None)]
    assert row(site, 1) == ("RUNNING", 4, 1, 1, 2, "fail")


@pytest.mark.parametrize("status", ["READY", "RUNNING", "SUCCESSFUL", "FAILED"])
def test_a_chord_whose_callback_has_been_let_go(site: Site, status: str) -> None:
    migrated(
        site,
        chord(1, 1, callback=2, status="WAITING_CALLBACK", good=1),
        run(1, "SUCCESSFUL", 1),
        run(2, status, 1, waits_for=0),
    )
    assert places(site, 1) == {1: (1, None), 2: (2, None)}
    failed = int(status == "FAILED")
    assert steps(site, 1) == [
        (1, 0, 0, None),
        (2, int(status in ("READY", "RUNNING")), failed, 2 if failed else None),
    ]


def test_a_chord_whose_row_has_never_been_written(site: Site) -> None:
    migrated(site, run(1, "RUNNING", 1), run(2, "SUCCESSFUL", 1), run(3, "WAITING", 1, waits_for=2))
    assert places(site, 1) == {1: (1, None), 2: (1, None), 3: (2, 1)}
    assert row(site, 1) == ("RUNNING", 3, 1, 0, 2, "fail")


def test_a_chord_whose_members_are_gone(site: Site) -> None:
    migrated(site, chord(1, 2, callback=3, status="FAILED"), run(3, "WAITING", 1, waits_for=2))
    assert steps(site, 1) == [(1, 0, 1, None), (2, 1, 0, None)]


def test_workflows_that_are_over_stay(site: Site) -> None:
    migrated(
        site,
        chord(1, 1, callback=2, status="SUCCESSFUL", good=1),
        run(1, "SUCCESSFUL", 1),
        run(2, "SUCCESSFUL", 1),
        chord(2, 1, callback=None),
    )
    assert places(site, 1) == {1: (None, None), 2: (None, None)}
    assert site.rows("SELECT status, final_step FROM workflow_runs ORDER BY workflow_id") == [
        ("SUCCESSFUL", None),
        ("RUNNING", None),
    ]
    assert site.rows("SELECT 1 FROM reproq_workflow_steps") == []
