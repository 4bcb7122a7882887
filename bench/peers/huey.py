"""Huey by its Django integration, two worker processes, results stored.

On Redis its default storage, which waits in a blocking pop. On SQLite its own file with ``fsync`` on (off
by default, and then a power cut loses what it has acknowledged) beside the site's. Workers poll SQLite:
from every 0.1 s backing off to 10 s by default; ``backoff`` 1 keeps it at 0.1 s. It logs each task at INFO:
off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.peer import SITE, Peer, Site


@dataclass(frozen=True)
class Huey(Peer):
    def settings(self, site: Site) -> dict[str, Any]:
        huey: dict[str, Any] = {
            "name": "bench",
            "immediate": False,
            "results": True,
            "consumer": {
                "workers": self.processes,
                "worker_type": "process",
                "backoff": 1,
                "verbose": False,
                "graceful_signal": "TERM",
            },
        }
        if self.stores == "redis":
            huey |= {"huey_class": "huey.RedisHuey", "connection": {"url": site["redis"]}}
        else:
            name = f"{site['database']['NAME']}.huey"
            huey |= {"huey_class": "huey.SqliteHuey", "filename": name, "fsync": True}
        return {"HUEY": huey}

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        # Its tasks are in the site's module, which is no application's `tasks`.
        start = f"import {self.site_module}; from django.core.management import call_command as call; "
        return [
            [str(self.python), "-c", f"import django; django.setup(); {start}call('run_huey', verbosity=0)"]
        ]


def _huey(stores: str, title: str) -> Huey:
    return Huey(
        name=f"huey-{stores}",
        title=f"Huey, {title}",
        stores=stores,
        module="huey",
        environment="huey",
        packages=(*SITE, "huey[redis]"),
        released="huey",
        apps=("huey.contrib.djhuey",),
        isolation="slot",
        pace=2_000 if stores == "redis" else 1_000,
    )


PEERS = (_huey("redis", "Redis"), _huey("sqlite", "SQLite"))
