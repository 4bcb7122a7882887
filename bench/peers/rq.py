"""RQ by django-rq: two ``rqworker`` processes, each of which forks a process per job. Results stored (its
default), job log lines at INFO off. Bulk enqueue is its ``enqueue_many``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.peer import SITE, Peer, Site


@dataclass(frozen=True)
class Rq(Peer):
    def settings(self, site: Site) -> dict[str, Any]:
        return {"RQ_QUEUES": {"default": {"URL": site["redis"]}}}

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        return [self.manage("rqworker", "default", "--verbosity", "0")] * self.processes


PEERS = (
    Rq(
        name="rq",
        title="RQ (a fork per job)",
        stores="redis",
        module="rq",
        environment="rq",
        packages=(*SITE, "rq", "django-rq"),
        released="rq",
        apps=("django_rq",),
        isolation="task",
        pace=80,
    ),
)
