"""pgqueuer: coroutines in the event loop of its worker, enqueued by asyncpg from another one."""

import logging
from contextlib import asynccontextmanager

from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.queries import Queries

from bench.peers import work
from bench.peers.sites import pgqueuer

ASYNC = True
_connection = None


async def opened():
    """Connects at the first call: before ``prepare`` there is nothing to look at."""


async def prepare():
    await Queries(AsyncpgDriver(await _connected())).install()


async def _connected():
    global _connection
    if _connection is None:
        _connection = await pgqueuer.connect()
    return _connection


@asynccontextmanager
async def worker():
    """What ``pgq run`` runs."""
    import django

    django.setup()
    logging.getLogger("pgqueuer").setLevel(logging.WARNING)
    connection = await pgqueuer.connect()
    manager = PgQueuer(AsyncpgDriver(connection))
    for kind, function in work.ASYNC.items():
        _register(manager, kind, function)
    try:
        yield manager
    finally:
        await connection.close()


def _register(manager, kind, function):
    async def run(job):
        await function(int(job.payload))

    manager.entrypoint(kind)(run)


async def _queries():
    return Queries(AsyncpgDriver(await _connected()))


async def enqueue(kind, number):
    await (await _queries()).enqueue(kind, b"%d" % number)


async def bulk(kind, numbers):
    payloads = [b"%d" % number for number in numbers]
    await (await _queries()).enqueue([kind] * len(payloads), payloads, [0] * len(payloads))


async def left(total):
    return sum(one.count for one in await (await _queries()).queue_size())
