"""pgqueuer: two worker processes with asyncpg and uvloop. Its own tables, jobs deleted when they are done,
no results; tasks run inside the worker's process.

Started by ``pgqueuer.run``, which it documents as its ``pgq run`` without the command line: that one fails
with the typer that it installs (1.6.0). Batches of 100 instead of 10, which is faster; log lines at INFO
off. sync: plain functions in threads of the worker, enqueued by psycopg, at most ten at a time. async:
coroutines in the worker's loop, enqueued by asyncpg.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.peer import SITE, Backlog, Peer, Site

BATCH = 100


@dataclass(frozen=True)
class PgQueuer(Peer):
    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        factory = f"{self.site_module}:worker"
        start = f"import pgqueuer, uvloop; uvloop.run(pgqueuer.run({factory!r}, batch_size={BATCH}))"
        return [[str(self.python), "-c", start]] * self.processes


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
        pace=6_000,
        backlog=Backlog("pgqueuer", ("payload", "convert_to(n::text, 'UTF8')")),
        **more,
    )


PEERS = (
    _pgqueuer("pgqueuer", "pgqueuer", module="pgqueuer"),
    _pgqueuer("pgqueuer-async", "pgqueuer, async", module="pgqueuer_async"),
)
