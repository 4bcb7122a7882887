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

OTHERS: tuple[Peer, ...] = (
    *pgqueuer.PEERS,
    *procrastinate.PEERS,
    *django_backends.PEERS,
    *django_q2.PEERS,
    *chancy.PEERS,
    *huey.PEERS,
    *dramatiq.PEERS,
    *celery.PEERS,
    *rq.PEERS,
)
PEERS: tuple[Peer, ...] = (*reproq.PEERS, *OTHERS)
QUICK = ("pgqueuer", "django-tasks-db", "huey-redis")
"""Of the others, in a quick run: the fastest, Django's own and a broker's."""

ABSENT = {
    "reproq-django 0.1.529 and its own worker": (
        "left out: neither the package nor its worker is on PyPI, so it cannot be installed as its users would"
    ),
}
"""What the comparison was asked for and cannot have; said with its results."""
