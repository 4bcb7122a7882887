"""The databases that sites live in: fsync on, as in production."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol, Self

from bench.machine import ROOT, FamilyCpu

sys.path.insert(0, str(ROOT))

from tools.postgres import PostgresCluster


class Server(Protocol):
    """Where new, empty databases come from."""

    name: str

    def new_database(self) -> tuple[dict[str, Any], str]:
        """An entry for Django's DATABASES, and the worker's DSN."""
        ...

    def cpu_seconds(self) -> float:
        """What the server's own processes have used so far."""
        ...


class Sqlite:
    """Files in a folder; the work is done in the clients' processes."""

    name = "sqlite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count()

    def new_database(self) -> tuple[dict[str, Any], str]:
        path = self._folder / f"{next(self._numbers)}.sqlite3"
        pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"
        options = {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": pragmas}
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), "OPTIONS": options}
        return database, f"sqlite://{path}"

    def cpu_seconds(self) -> float:
        return 0.0


class Postgres:
    """A throwaway cluster with PostgreSQL's own defaults: fsync and synchronous_commit on."""

    name = "postgres"

    def __init__(self, cluster: PostgresCluster) -> None:
        self._cluster = cluster
        self.port = cluster.port
        self._numbers = itertools.count()
        self._postmaster = int((cluster.data / "postmaster.pid").read_text().splitlines()[0])

    def new_database(self) -> tuple[dict[str, Any], str]:
        name = f"bench_{next(self._numbers)}"
        self._cluster.sql(f"CREATE DATABASE {name}")
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "HOST": "127.0.0.1",
            "PORT": str(self._cluster.port),
            "USER": "postgres",
        }
        return database, self._cluster.dsn(name)

    def cpu_seconds(self) -> float:
        return FamilyCpu.of(self._postmaster).total

    def version(self) -> str:
        import psycopg

        with psycopg.connect(self._cluster.dsn()) as connection:
            row = connection.execute("SHOW server_version").fetchone()
        return str(row[0]) if row else "unknown"


class Between:
    """The same cluster with a process of ``bench.pooler`` in between."""

    def __init__(self, postgres: Postgres, how: str) -> None:
        self.name = f"{postgres.name}, {how}"
        self._postgres = postgres
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.pooler", how, str(postgres.port)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout
        self._port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its input is its end.
        self._process.communicate()

    def new_database(self) -> tuple[dict[str, Any], str]:
        database, url = self._postgres.new_database()
        there = f":{self._postgres.port}/"
        return database | {"PORT": str(self._port)}, url.replace(there, f":{self._port}/")

    def cpu_seconds(self) -> float:
        return self._postgres.cpu_seconds() + FamilyCpu.of(self._process.pid).total
