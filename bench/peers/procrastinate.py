"""procrastinate by its Django integration: two worker processes, LISTEN/NOTIFY on (its default), jobs kept.
It stores no return values.

sync: plain functions, ``--concurrency 1`` each, as it advises for functions that block: two at a time.
async: coroutines, ten at a time in each process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.peer import SITE, Backlog, Peer, Site


@dataclass(frozen=True)
class Procrastinate(Peer):
    concurrency: int = 1

    def settings(self, site: Site) -> dict[str, Any]:
        return {"PROCRASTINATE_IMPORT_PATHS": [self.site_module]}

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        flags = ["worker", "--concurrency", str(self.concurrency)]
        return [self.manage("procrastinate", *flags)] * self.processes


def _procrastinate(name: str, title: str, **more: Any) -> Procrastinate:
    return Procrastinate(
        name=name,
        title=title,
        stores="postgres",
        environment="procrastinate",
        packages=(*SITE, "procrastinate[django]"),
        released="procrastinate",
        apps=("procrastinate.contrib.django",),
        results="not stored",
        backlog=Backlog("procrastinate_jobs", ("args", "jsonb_build_object('number', n)")),
        isolation="worker",
        **more,
    )


PEERS = (
    _procrastinate("procrastinate", "procrastinate", module="procrastinate"),
    _procrastinate(
        "procrastinate-async", "procrastinate, async", module="procrastinate_async", concurrency=10
    ),
)
