"""Celery with two prefork children.

Redis holds tasks and results, or RabbitMQ the tasks (durable queue, persistent messages: Celery's defaults)
and results go back to their caller as messages (``rpc://``), which is its cheapest. Events, gossip and
mingle are off, as its manual advises for speed; the prefetch of 4 per child and acknowledging early are its
defaults. ``late`` is what who must not lose tasks sets: ``acks_late``, ``reject_on_worker_lost`` and a
prefetch of 1. ``durable`` is the default again, on a Redis that flushes each write.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bench.peers.peer import SITE, Peer, Site


@dataclass(frozen=True)
class Celery(Peer):
    late: bool = False

    def settings(self, site: Site) -> dict[str, Any]:
        settings = {
            "CELERY_BROKER_URL": site["redis"] if self.stores == "redis" else site["amqp"],
            "CELERY_RESULT_BACKEND": site["redis"] if self.stores == "redis" else "rpc://",
            "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
            "CELERY_TASK_DEFAULT_QUEUE": site.get("queue", "celery"),
        }
        if self.late:
            settings |= {
                "CELERY_TASK_ACKS_LATE": True,
                "CELERY_TASK_REJECT_ON_WORKER_LOST": True,
                "CELERY_WORKER_PREFETCH_MULTIPLIER": 1,
            }
        return settings

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        flags = ["--pool", "prefork", "--concurrency", str(self.processes)]
        quiet = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        return [[str(self.python), "-m", "celery", "-A", self.site_module, "worker", *flags, *quiet]]


def _celery(name: str, title: str, stores: str, **more: Any) -> Celery:
    return Celery(
        name=name,
        title=title,
        stores=stores,
        module="celery",
        environment="celery",
        packages=(*SITE, "celery[redis]"),
        released="celery",
        isolation="slot",
        pace=600,
        **more,
    )


PEERS = (
    _celery("celery-redis", "Celery, Redis", "redis"),
    _celery("celery-redis-late", "Celery, Redis, late acks", "redis", late=True),
    _celery("celery-redis-durable", "Celery, Redis that flushes each write", "redis", durable_redis=True),
    _celery("celery-rabbitmq", "Celery, RabbitMQ", "rabbitmq", results="sent back"),
)
