"""Chancy by its own interface (its Django backend is experimental and opens connections at each enqueue): one
worker, whose process pool has two children.

``eager_polling`` on and a poll each second, as its documentation advises for queues with low concurrency. By
default a child is replaced after 100 jobs and spawned anew, which takes longer than the jobs: 1,000,000 here.
It stores no return values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.peers.peer import RANDOM_KEY, SITE, Backlog, Peer, Site


@dataclass(frozen=True)
class Chancy(Peer):
    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        # As its documentation starts a worker in a Django project: after django.setup().
        start = "import django; django.setup(); from chancy.cli.cli import main; main()"
        return [
            [str(self.python), "-c", start, "--app", f"{self.site_module}.app", "worker", "start"],
        ]


PEERS = (
    Chancy(
        name="chancy",
        title="Chancy",
        stores="postgres",
        module="chancy",
        environment="chancy",
        packages=(*SITE, "chancy[django,cli]"),
        released="chancy",
        apps=("chancy.contrib.django",),
        results="not stored",
        backlog=Backlog("chancy_jobs", ("kwargs", "json_build_object('number', n)"), RANDOM_KEY),
        isolation="slot",
        pace=170,
    ),
)
