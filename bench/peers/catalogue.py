"""All peers, in the order of the tables, and what is not among them."""

from __future__ import annotations

from bench.peers import (
    celery,
    chancy,
    django_backends,
    django_q2,
    dramatiq,
    huey,
    pgqueuer,
    procrastinate,
    reproq,
    rq,
)
from bench.peers.peer import Peer

MODULES = (
    reproq,
    pgqueuer,
    procrastinate,
    django_backends,
    django_q2,
    chancy,
    huey,
    dramatiq,
    celery,
    rq,
)
PEERS: tuple[Peer, ...] = tuple(peer for module in MODULES for peer in module.PEERS)
QUICK = ("pgqueuer", "django-tasks-db", "huey-redis")
"""Of the others, in a quick run: the fastest, Django's own and a broker's."""
COMPARED = (
    "rq",
    "reproq-fork-postgres",
    "huey-sqlite",
    "reproq-pool-sqlite",
    "celery-redis",
    "huey-redis",
    "pgqueuer-async",
    "reproq-pool-postgres",
    "django-tasks-db",
)
"""Those of the targets' ratios, near whom they are compared with: the closer the ratio, the nearer."""

ABSENT = {
    "reproq-django 0.1.529 and its own worker": (
        "neither the package nor its worker is on PyPI, so its users cannot install it from there"
    ),
}
"""What the comparison was asked for and cannot have; said with its results."""
