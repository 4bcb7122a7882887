"""``manage.py reproq pg-cron``, against a real server with pg_cron, and against servers without."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from tools.pg_cron import cluster_with_pg_cron
from tools.postgres import PostgresCluster

type Command = Callable[..., str]

JOBS = "SELECT jobname, schedule, command, database FROM cron.job ORDER BY jobid"
TICK = ("reproq_periodic_tick", "* * * * *", "SELECT pg_notify('reproq_schedule', 'tick')")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresCluster]:
    """pg_cron's jobs are in ``postgres``; there is a ``site`` beside it."""
    with cluster_with_pg_cron() as cluster:
        cluster.sql("CREATE DATABASE site")
        cluster.sql("CREATE ROLE plain LOGIN")
        yield cluster


@pytest.fixture
def site(server: PostgresCluster, django_db_blocker: Any) -> Iterator[Callable[..., Command]]:
    """A function that makes a site on a database of that server, and gives its ``pg-cron``."""

    def make(database: str = "site", user: str = "postgres", port: int = server.port) -> Command:
        entry = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": database,
            "HOST": "127.0.0.1",
            "PORT": str(port),
            "USER": user,
        }
        if "cron_site" in connections.databases:
            connections["cron_site"].close()
            del connections["cron_site"]
        connections.databases["cron_site"] = connections.configure_settings({"default": entry})["default"]

        def run(*arguments: str) -> str:
            out = StringIO()
            call_command("reproq", "pg-cron", "--database", "cron_site", *arguments, stdout=out)
            return out.getvalue()

        return run

    with django_db_blocker.unblock():
        yield make
        if "cron_site" in connections.databases:
            connections["cron_site"].close()
            del connections["cron_site"]
            del connections.databases["cron_site"]
    for database in ("postgres", "site"):
        server.sql("DROP EXTENSION IF EXISTS pg_cron", database)


def jobs(server: PostgresCluster, database: str = "postgres") -> list[tuple[Any, ...]]:
    with psycopg.connect(server.dsn(database)) as connection:
        return connection.execute(JOBS).fetchall()


def test_the_job_is_made_once_and_removed(server: PostgresCluster, site: Callable[..., Command]) -> None:
    pg_cron = site("postgres")
    assert "each minute" in pg_cron()
    assert jobs(server) == [(*TICK, "postgres")]
    assert "already there" in pg_cron("--install")
    assert jobs(server) == [(*TICK, "postgres")]
    assert "removed" in pg_cron("--remove")
    assert jobs(server) == []
    assert "no such job" in pg_cron("--remove")


def test_a_site_beside_the_database_of_the_jobs(
    server: PostgresCluster, site: Callable[..., Command]
) -> None:
    pg_cron = site("site")
    pg_cron()
    assert jobs(server) == [(*TICK, "site")]
    assert "already there" in pg_cron()
    with pytest.raises(CommandError, match="job for the database 'site'; give this one another name"):
        site("postgres")()
    site("postgres")("--prefix", "other")
    assert [(job[0], job[3]) for job in jobs(server)] == [
        ("reproq_periodic_tick", "site"), ("other_tick", "postgres"),
    ]  # fmt: skip
    site("postgres")("--remove")
    site("site")("--remove")
    assert [job[0] for job in jobs(server)] == ["other_tick"]


def test_jobs_of_the_earlier_system_go(server: PostgresCluster, site: Callable[..., Command]) -> None:
    server.sql("CREATE EXTENSION pg_cron")
    for name in ("reproq_periodic_nightly", "reproq_periodic:5", "reproq_periodicals", "theirs"):
        server.sql(f"SELECT cron.schedule('{name}', '0 2 * * *', 'SELECT 1')")
    server.sql("SELECT cron.schedule_in_database('reproq_periodic_x', '0 2 * * *', 'SELECT 1', 'site')")
    site("postgres")()
    assert [job[0] for job in jobs(server)] == [
        "reproq_periodicals", "theirs", "reproq_periodic_x", "reproq_periodic_tick",
    ]  # fmt: skip


def test_a_job_that_somebody_has_changed_is_mended(
    server: PostgresCluster, site: Callable[..., Command]
) -> None:
    pg_cron = site("postgres")
    pg_cron()
    server.sql("UPDATE cron.job SET schedule = '0 * * * *'")
    pg_cron()
    assert jobs(server) == [(*TICK, "postgres")]


@pytest.mark.parametrize("database", ["postgres", "site"])
def test_a_dry_run_prints_what_would_be_run(
    server: PostgresCluster, site: Callable[..., Command], database: str
) -> None:
    pg_cron = site(database)
    printed = pg_cron("--dry-run")
    assert "-- in the database postgres" in printed
    with psycopg.connect(server.dsn()) as connection:
        assert not connection.execute("SELECT FROM pg_extension WHERE extname = 'pg_cron'").fetchall()
    for statement in printed.splitlines()[1:]:
        server.sql(statement)
    assert jobs(server) == [(*TICK, database)]
    assert "already there" in pg_cron()
    assert "-- nothing to do" in pg_cron("--dry-run")
    assert "SELECT cron.unschedule(" in pg_cron("--remove", "--dry-run")
    assert len(jobs(server)) == 1


def test_what_a_plain_user_may_not_do(server: PostgresCluster, site: Callable[..., Command]) -> None:
    with pytest.raises(CommandError, match="have a superuser run CREATE EXTENSION pg_cron"):
        site("postgres", "plain")()
    server.sql("CREATE EXTENSION pg_cron")
    with pytest.raises(CommandError, match="have a superuser run GRANT USAGE ON SCHEMA cron"):
        site("postgres", "plain")()
    server.sql("GRANT USAGE ON SCHEMA cron TO plain")
    assert "each minute" in site("postgres", "plain")()
    assert jobs(server) == [(*TICK, "postgres")]


def test_a_plain_user_beside_the_database_of_the_jobs(
    server: PostgresCluster, site: Callable[..., Command]
) -> None:
    pg_cron = site("site", "plain")
    with pytest.raises(CommandError, match="CREATE EXTENSION pg_cron in the database that"):
        pg_cron()
    server.sql("CREATE EXTENSION pg_cron")
    server.sql("GRANT USAGE ON SCHEMA cron TO plain")
    function = "FUNCTION cron.schedule_in_database(text, text, text, text, text, boolean)"
    with pytest.raises(CommandError, match=f"GRANT EXECUTE ON {re.escape(function)} TO this user"):
        pg_cron()
    server.sql(f"GRANT EXECUTE ON {function} TO plain")
    pg_cron()
    assert jobs(server) == [(*TICK, "site")]


def test_the_job_notifies_the_schedulers(server: PostgresCluster, site: Callable[..., Command]) -> None:
    site("site")()
    with psycopg.connect(server.dsn("site"), autocommit=True) as connection:
        connection.execute("LISTEN reproq_schedule")
        heard = next(connection.notifies(timeout=90), None)
    assert heard is not None, "pg_cron starts its jobs at each full minute"
    assert heard.payload == "tick"


def test_a_server_without_it(
    postgres_cluster: PostgresCluster, server: PostgresCluster, site: Callable[..., Command], tmp_path: Any
) -> None:
    with PostgresCluster(binaries=server.binaries) as other:
        pg_cron = site("postgres", port=other.port)
        with pytest.raises(CommandError, match="add it to shared_preload_libraries"):
            pg_cron()
        with pytest.raises(CommandError, match="add it to shared_preload_libraries"):
            pg_cron("--dry-run")
        assert "nothing to do: pg_cron is not loaded" in pg_cron("--if-supported")
        other.sql("CREATE ROLE plain LOGIN")
        assert "permission denied" in str(_error(site("postgres", "plain", other.port)))


def _error(command: Command) -> CommandError:
    with pytest.raises(CommandError) as caught:
        command()
    return caught.value


def test_where_it_makes_no_sense(db: None) -> None:
    def pg_cron(*arguments: str) -> str:
        out = StringIO()
        call_command("reproq", "pg-cron", *arguments, stdout=out)
        return out.getvalue()

    with pytest.raises(CommandError, match="SQLite, and pg_cron is PostgreSQL's; run `reproq beat`"):
        pg_cron()
    assert "nothing to do" in pg_cron("--if-supported")
    with pytest.raises(CommandError, match="there is no database 'nowhere'"):
        pg_cron("--database", "nowhere")
    with pytest.raises(CommandError, match="--prefix takes"):
        pg_cron("--prefix", "a'b")
