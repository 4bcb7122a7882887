"""One site per test, on both databases; the binary of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connections
from django.test import override_settings

sys.path.insert(0, str(Path(__file__).parent))

from harness import ALIAS, ROOT, Site, forget_connection
from tools.postgres import PostgresCluster

from reproq_django.schema import apply_schema

POSTGRES, SQLITE = "postgres", "sqlite"


@pytest.fixture(scope="session")
def binary() -> Path:
    """The binary that `make test` has built, or one built now."""
    if given := os.environ.get("REPROQ_WORKER_BIN"):
        return Path(given)
    subprocess.run(["cargo", "build", "--quiet", "--package", "reproq"], cwd=ROOT, check=True)
    return ROOT / "target" / "debug" / "reproq"


@pytest.fixture(scope="session")
def durable_cluster() -> Iterator[PostgresCluster]:
    """A server that keeps its promises, for tests that kill it."""
    with PostgresCluster(durable=True) as cluster:
        yield cluster


@pytest.fixture(params=[SQLITE, POSTGRES])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(
    engine: str, tmp_path: Path, binary: Path, request: pytest.FixtureRequest, django_db_blocker: Any
) -> Iterator[Site]:
    """A site with an empty queue."""
    if engine == POSTGRES:
        cluster: PostgresCluster = request.getfixturevalue("durable_cluster")
        name = f"site_{os.getpid()}_{abs(hash(tmp_path))}"
        cluster.sql(f"CREATE DATABASE {name}")
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "HOST": "127.0.0.1",
            "PORT": str(cluster.port),
            "USER": "postgres",
        }
        url = cluster.dsn(name)
    else:
        database = {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": str(tmp_path / "site.sqlite3"),
            "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
        }
        url = f"sqlite://{database['NAME']}"
    connections.databases[ALIAS] = connections.configure_settings({"default": dict(database)})["default"]
    # The PostgreSQL server may be killed by the test: what it is asked then must fail quickly, not hang.
    with django_db_blocker.unblock(), override_settings(REPROQ_DEFAULT_DB_ALIAS=ALIAS):
        assert django_settings.REPROQ_DEFAULT_DB_ALIAS == ALIAS
        apply_schema(connections[ALIAS])
        site = Site(database, url, tmp_path, binary)
        yield site
        for worker in site.workers:
            worker.end()
        forget_connection()
        del connections[ALIAS]
        del connections.databases[ALIAS]
        if engine == POSTGRES:
            cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")
