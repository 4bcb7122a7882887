"""Dramatiq, by django-dramatiq. It has no bulk enqueue."""

import dramatiq

from bench.peers import work

BROKER = dramatiq.get_broker()
TASKS = {
    kind: dramatiq.actor(function, actor_name=f"bench_{kind}", store_results=True)
    for kind, function in work.SYNC.items()
}


def enqueue(kind, number):
    TASKS[kind].send(number)


def bulk(kind, numbers):
    for number in numbers:
        TASKS[kind].send(number)


def left(total):
    """Messages that nobody has acknowledged, whether waiting or fetched."""
    return BROKER.client.hlen("dramatiq:default.msgs")
