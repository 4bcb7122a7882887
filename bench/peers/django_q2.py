"""django-q2 with its ORM broker on the site's PostgreSQL.

``workers: 2``; ``bulk`` and ``queue_limit`` so that it prefetches (its manual asks for both with an ORM
broker); ``save_limit: 0``, else each result deletes an older one; ``retry`` above ``timeout``, as it wants;
no schedules, so the scheduler is off; the poll of 0.2 s is its default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.peer import SITE, Peer, Site, kept_connections


@dataclass(frozen=True)
class DjangoQ2(Peer):
    def settings(self, site: Site) -> dict[str, Any]:
        cluster = {
            "name": "bench",
            "orm": "default",
            "workers": self.processes,
            "bulk": 20,
            "queue_limit": 40,
            "timeout": 60,
            "retry": 120,
            "save_limit": 0,
            "scheduler": False,
            "catch_up": False,
            "log_level": "WARNING",
        }
        return {"Q_CLUSTER": cluster, "DATABASES": kept_connections(site)}

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        return [self.manage("qcluster", "--verbosity", "0")]


PEERS = (
    DjangoQ2(
        name="django-q2",
        title="django-q2",
        stores="postgres",
        module="django_q2",
        environment="django-q2",
        packages=(*SITE, "django-q2"),
        released="django-q2",
        apps=("django_q",),
        isolation="slot",
    ),
)
