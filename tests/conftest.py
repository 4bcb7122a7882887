"""Databases for the Python tests: one SQLite file, one throwaway PostgreSQL. Neither is ever skipped."""

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from django.db import connections
from django.tasks import task_backends
from tools.postgres import PostgresCluster


def pytest_configure(config: pytest.Config) -> None:
    """Let fixtures and atexit stop what the tests have started."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[PostgresCluster]:
    with PostgresCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def django_db_modify_db_settings(postgres_cluster: PostgresCluster) -> None:
    """pytest-django calls this before it makes the test databases."""
    port = str(postgres_cluster.port)
    os.environ["REPROQ_TEST_POSTGRES_PORT"] = port
    connections["postgres"].settings_dict["PORT"] = port


@pytest.fixture(params=["sqlite", "postgres"])
def alias(request: pytest.FixtureRequest, settings: pytest.FixtureRequest) -> str:
    """The database that the queues live in: each test that asks for it runs on both."""
    chosen = "default" if request.param == "sqlite" else "postgres"
    settings.REPROQ_DEFAULT_DB_ALIAS = chosen
    return chosen


@pytest.fixture
def backend() -> object:
    return task_backends["default"]
