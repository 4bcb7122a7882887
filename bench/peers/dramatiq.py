"""Dramatiq on Redis by django-dramatiq: two processes of one thread each, for two tasks at a time as with
all; results stored. The middleware is its default for a site without the admin's task table, which would
write to the database twice per task.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.peer import SITE, Peer, Site


@dataclass(frozen=True)
class Dramatiq(Peer):
    def settings(self, site: Site) -> dict[str, Any]:
        middleware = ("AgeLimit", "TimeLimit", "Callbacks", "Retries")
        return {
            "DRAMATIQ_BROKER": {
                "BROKER": "dramatiq.brokers.redis.RedisBroker",
                "OPTIONS": {"url": site["redis"]},
                "MIDDLEWARE": [
                    *(f"dramatiq.middleware.{name}" for name in middleware),
                    "django_dramatiq.middleware.DbConnectionsMiddleware",
                ],
            },
            "DRAMATIQ_RESULT_BACKEND": {
                "BACKEND": "dramatiq.results.backends.redis.RedisBackend",
                "BACKEND_OPTIONS": {"url": site["redis"]},
                "MIDDLEWARE_OPTIONS": {"result_ttl": 600_000},
            },
        }

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        flags = ["--processes", str(self.processes), "--threads", "1"]
        modules = ["django_dramatiq.setup", self.site_module]
        return [[str(self.python), "-m", "dramatiq", *flags, *modules]]


PEERS = (
    Dramatiq(
        name="dramatiq-redis",
        title="Dramatiq, Redis",
        stores="redis",
        module="dramatiq",
        environment="dramatiq",
        packages=(*SITE, "dramatiq[redis]", "django-dramatiq"),
        released="dramatiq",
        apps=("django_dramatiq",),
        isolation="slot",
        pace=2_000,
    ),
)
