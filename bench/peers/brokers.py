"""Where peers keep their tasks. PostgreSQL, Redis and RabbitMQ are started here, on loopback, at free ports.

A broker is started for the turn that needs it and ended after it, so that no idle server disturbs the others;
PostgreSQL stays, since every site but those on SQLite has its data there.
"""

from __future__ import annotations

import itertools
import os
import socket
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from bench.machine import pss_mib
from bench.peers.peer import Peer
from bench.peers.processes import Family, free_port, wait_until_open
from bench.server import Postgres, PostgresCluster, Sqlite

BASE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
"""The environment of servers."""


class Broker(Protocol):
    """A server besides the database."""

    def address(self) -> dict[str, str]:
        """What a site needs to know; empties it."""
        ...

    def cpu_seconds(self) -> float: ...

    def pss_mib(self) -> float: ...

    def stop(self) -> None: ...


class Redis:
    """Append-only file on, flushed each second as its manual advises, or ``durable``: at each write."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        self._port = free_port()
        flags = {
            "--port": str(self._port),
            "--bind": "127.0.0.1",
            "--dir": str(folder),
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "always" if durable else "everysec",
            "--daemonize": "no",
        }
        command = ["/usr/bin/redis-server", *(word for pair in flags.items() for word in pair)]
        self._family = Family([command], BASE, folder, folder / "redis.log")
        wait_until_open(self._port, self._family, 20, lambda: self._ask("PING") == b"+PONG\r\n")

    def address(self) -> dict[str, str]:
        self._ask("FLUSHALL")
        return {"redis": f"redis://127.0.0.1:{self._port}/0"}

    def cpu_seconds(self) -> float:
        return self._family.cpu_seconds()

    def pss_mib(self) -> float:
        return pss_mib(self._family.members())

    def stop(self) -> None:
        self._family.stop()

    def _ask(self, word: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self._port), timeout=10) as connection:
            connection.sendall(f"{word}\r\n".encode())
            return connection.recv(100)


class Places:
    """The site's databases: PostgreSQL with a template per peer, or files."""

    def __init__(self, stack: ExitStack) -> None:
        self._cluster = stack.enter_context(PostgresCluster(durable=True))
        self.postgres = Postgres(self._cluster)
        self._sqlite = Sqlite(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-"))))
        # In memory: on the disk of a database that flushes all the time, an append can wait for its journal.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._memory = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-", dir=memory))
        )
        self._numbers = itertools.count()
        self.prepared: set[str] = set()
        """Peers whose template has its tables."""
        self._used: list[str] = []

    def new(self, peer: Peer, *, as_template: bool = False) -> tuple[dict[str, Any], str]:
        """An entry of DATABASES and an address; on PostgreSQL a copy of the peer's template."""
        if peer.on_sqlite:
            return self._sqlite.new_database()
        template = f"template_{peer.name.replace('-', '_')}"
        if as_template:
            name = template
            # One that was left half-made.
            self._cluster.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            self._cluster.sql(f"CREATE DATABASE {name}")
        else:
            name = f"peer_{next(self._numbers)}"
            source = template if peer.name in self.prepared else "template1"
            self._cluster.sql(f"CREATE DATABASE {name} TEMPLATE {source}")
            self._used.append(name)
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": name,
            "HOST": "127.0.0.1",
            "PORT": str(self._cluster.port),
            "USER": "postgres",
        }
        return database, self._cluster.dsn(name)

    def witness(self) -> Path:
        """Where a new witness may write."""
        return self._memory / f"witness_{next(self._numbers)}"

    def drop(self) -> None:
        """What has been used, so that nothing vacuums it while others are measured."""
        for name in self._used:
            self._cluster.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._used.clear()
        for witness in self._memory.iterdir():
            witness.unlink()

    def analyze(self, peer: Peer, name: str) -> None:
        """What a server would have done by itself some time after so many rows came."""
        if not peer.on_sqlite:
            self._cluster.sql("ANALYZE", name)

    def checkpoint(self) -> None:
        """So that none begins while something is measured. Before a backlog and not after it, when the first
        change of each page would be logged with the whole page."""
        self._cluster.sql("CHECKPOINT")

    def execute(self, statement: str, name: str) -> None:
        """Outside a transaction."""
        self._cluster.sql(statement, name)

    def row(self, query: str, name: str = "postgres") -> tuple[Any, ...]:
        import psycopg

        with psycopg.connect(self._cluster.dsn(name)) as connection:
            return connection.execute(query).fetchone() or ()

    def columns(self, table: str, name: str, *, besides: Sequence[str]) -> str:
        """What an INSERT can name, but for some."""
        left_out = ", ".join(f"'{column}'" for column in besides)
        query = (
            "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute "
            f"WHERE attrelid = '{table}'::regclass AND attnum > 0 "
            f"AND NOT attisdropped AND attgenerated = '' AND attname NOT IN ({left_out})"
        )
        return str(self.row(query, name)[0])

    def cpu_seconds(self) -> float:
        return self.postgres.cpu_seconds()


def start(peer: Peer, folder: Path) -> Broker | None:
    """The one that the peer needs besides the database."""
    if peer.stores == "redis":
        return Redis(folder, durable=peer.durable_redis)
    if peer.stores == "rabbitmq":
        from bench.peers.rabbit import Rabbit

        return Rabbit(folder)
    return None
