"""What a peer has to say about itself. The modules beside this one fill it in, see ``catalogue``."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import ROOT

CACHE = ROOT / ".cache" / "peers"
SITE = ("Django>=6.0", "psycopg[binary]>=3.2")
"""What every peer's environment has."""

type Site = Mapping[str, Any]
"""What REPROQ_BENCH_SITE says: ``database`` and ``url``, and of a broker ``redis`` or ``amqp``."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How a million tasks come into a peer's table without its enqueue: as copies of one that it enqueued."""

    table: str
    number: tuple[str, str]
    """The column with the task's number, and it as SQL of ``n``."""
    key: tuple[str, str] = ("id", "")
    """The primary key; its value, or nothing where the table counts by itself."""


RANDOM_KEY = ("id", "gen_random_uuid()")


@dataclass(frozen=True)
class Peer:
    """A way of running tasks. Subclasses say what is different; a docstring says why it is set up so."""

    name: str
    title: str
    """As tables call it."""
    stores: str
    """Which of ``brokers`` holds its tasks: postgres, sqlite, redis, rabbitmq."""
    module: str
    """Its half in the site, below ``bench.peers.sites``."""
    environment: str = ""
    """The folder of its virtual environment; several peers may share one."""
    packages: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    released: str = ""
    """Its distribution, whose version is told."""
    results: str = "stored"
    isolation: str = "process"
    """What a task that brings its process down takes with it: itself, its slot's process, or the worker."""
    durable_redis: bool = False
    """Redis flushes each write, not once a second."""
    processes: int = 2
    pace: int = 500
    """No-ops a second, roughly: says only how many make a measurement long enough."""
    backlog: Backlog | None = None
    """None: a million of its tasks would have to be enqueued one by one."""

    @property
    def python(self) -> Path:
        return CACHE / self.environment / "bin" / "python"

    @property
    def site_module(self) -> str:
        return f"bench.peers.sites.{self.module}"

    @property
    def path(self) -> str:
        """PYTHONPATH."""
        return str(ROOT)

    @property
    def on_sqlite(self) -> bool:
        """Whether the site's own data is in a file as well."""
        return self.stores == "sqlite"

    def settings(self, site: Site) -> dict[str, Any]:
        """More of Django's settings."""
        return {}

    def variables(self, site: Site) -> dict[str, str]:
        """More of the environment of all its processes."""
        return {}

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        """What to start so that two tasks can run at the same time."""
        raise NotImplementedError

    def manage(self, *arguments: str) -> list[str]:
        """``manage.py`` of its site."""
        return [str(self.python), "-m", "django", *arguments]


def kept_connections(site: Site) -> dict[str, Any]:
    """DATABASES for workers that follow Django's CONN_MAX_AGE: else each task that queries connects anew."""
    return {"default": site["database"] | {"CONN_MAX_AGE": None}}


OURS = Path(sys.executable)
"""This checkout's own environment, with the sources."""
