"""The database is away, or unwilling, for longer than a lease: what has ended stays ended, once."""

import signal
import time

import pytest
from django.db import connections
from harness import ALIAS, Site, forget_connection, until
from tools.postgres import PostgresCluster

from testapp import tasks

SHORT_LEASE = ("--lease-seconds", "5", "--heartbeat-seconds", "1", "--reclaim-interval-seconds", "1")


def ended_once(site: Site) -> None:
    """Whatever happened, the task has run once and its run says so."""
    run = site.runs().get()
    assert (run.status, run.attempts, run.epoch, run.errors_json) == ("SUCCESSFUL", 1, 1, [])
    assert site.lines() == ["start 1", "end 1"]


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_a_file_that_is_locked_beyond_the_lease_loses_no_ending(site: Site) -> None:
    tasks.sleep_and_mark.enqueue(1, 2)
    other = connections.create_connection(ALIAS)
    with site.worker(*SHORT_LEASE) as worker:
        until(lambda: site.lines("start"), what="the task starts")
        lease = site.runs().get().leased_until
        with other.cursor() as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            until(lambda: site.lines("end"), what="the task ends")
            until(lambda: time.time() > lease.timestamp(), what="the lease ends")
            until(lambda: "the database failed" in worker.said, what="the worker meets the lock")
            cursor.execute("ROLLBACK")
        site.ended()
    other.close()
    ended_once(site)


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_a_database_that_turns_read_only_loses_no_ending(
    site: Site, durable_cluster: PostgresCluster
) -> None:
    """As it does while a standby takes over."""
    tasks.sleep_and_mark.enqueue(1, 2)
    name = site.database["NAME"]
    end_sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    with site.worker() as worker:
        until(lambda: site.lines("start"), what="the task starts")
        durable_cluster.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        durable_cluster.sql(end_sessions)
        until(lambda: site.lines("end"), what="the task ends")
        until(lambda: "read-only transaction" in worker.said, what="the worker is refused")
        durable_cluster.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        durable_cluster.sql(end_sessions)
        forget_connection()
        site.ended()
    ended_once(site)


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_a_row_that_an_operator_holds_keeps_no_other_run(site: Site) -> None:
    held, free = tasks.sleep_and_mark.enqueue(1, 0.5), tasks.sleep_and_mark.enqueue(2, 0.5)
    other = connections.create_connection(ALIAS)
    with site.worker():
        until(lambda: len(site.lines("start")) == 2, what="both start")
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM task_runs WHERE result_id = %s FOR UPDATE", [held.result_id])
            until(lambda: site.run(free).status == "SUCCESSFUL", what="the other one ends")
            assert site.run(held).status == "RUNNING"
            cursor.execute("ROLLBACK")
        site.ended()
    other.close()
    assert site.run(held).status == "SUCCESSFUL"


def test_a_worker_that_cannot_write_its_endings_says_so_when_it_leaves(site: Site) -> None:
    tasks.sleep_and_mark.enqueue(1, 1)
    other = connections.create_connection(ALIAS)
    with site.worker() as worker:
        until(lambda: site.lines("start"), what="the task starts")
        with other.cursor() as cursor:
            cursor.execute("BEGIN" if site.is_postgres else "BEGIN IMMEDIATE")
            if site.is_postgres:
                cursor.execute("LOCK TABLE task_runs")
            worker.signal(signal.SIGTERM)
            assert worker.exit_code(seconds=60) == 75
            cursor.execute("ROLLBACK")
    other.close()
    assert site.runs().get().status == "RUNNING"
