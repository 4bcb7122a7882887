"""pgqueuer: two ``pgq run`` processes with asyncpg and uvloop. Its own tables, jobs deleted when they are done, no
results; tasks run inside the worker's process.

``--batch-size 100`` instead of 10, as its benchmark does. sync: plain functions in threads of the worker, enqueued
by psycopg, at most ten at a time. async: coroutines in the worker's loop, enqueued by asyncpg.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.peer import SITE, Peer, Site


@dataclass(frozen=True)
class PgQueuer(Peer):
    def variables(self, site: Site) -> dict[str, str]:
        return {"PGQUEUER_LOG_LEVEL": "WARNING"}

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        flags = ["--batch-size", "100", "--log-level", "WARNING"]
        factory = f"{self.site_module}:worker"
        return [[str(self.python), "-m", "pgqueuer", "run", *flags, factory]] * self.processes


def _pgqueuer(name: str, title: str, **more: Any) -> PgQueuer:
    return PgQueuer(
        name=name,
        title=title,
        stores="postgres",
        environment="pgqueuer",
        packages=(*SITE, "pgqueuer[asyncpg,psycopg]"),
        released="pgqueuer",
        results="not stored",
        isolation="worker",
        **more,
    )


PEERS = (
    _pgqueuer("pgqueuer", "pgqueuer", module="pgqueuer"),
    _pgqueuer("pgqueuer-async", "pgqueuer, async", module="pgqueuer_async"),
)
