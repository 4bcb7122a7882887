"""One site per test, on both databases; the binary of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import ROOT, Site, new_site
from tools.postgres import PostgresCluster

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
    server = None
    if engine == POSTGRES:
        cluster: PostgresCluster = request.getfixturevalue("durable_cluster")
        server = cluster.dsn()
    with django_db_blocker.unblock(), new_site(server, tmp_path, binary) as site:
        yield site
