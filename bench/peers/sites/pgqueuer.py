"""pgqueuer: plain functions in threads of its worker, enqueued by psycopg."""

import asyncio
import logging
from contextlib import asynccontextmanager

import asyncpg
import psycopg
from django.conf import settings
from pgqueuer import AsyncpgDriver, PgQueuer
from pgqueuer.adapters.persistence.queries import SyncQueries
from pgqueuer.db import SyncPsycopgDriver
from pgqueuer.queries import Queries

from bench.peers import work

DATABASE = settings.DATABASES["default"]
ADDRESS = {
    "host": DATABASE["HOST"],
    "port": int(DATABASE["PORT"]),
    "user": DATABASE["USER"],
}
_queries = None


def prepare():
    async def make():
        connection = await connect()
        await Queries(AsyncpgDriver(connection)).install()
        await connection.close()

    asyncio.run(make())


async def connect():
    return await asyncpg.connect(database=DATABASE["NAME"], **ADDRESS)


@asynccontextmanager
async def worker():
    """What ``pgq run`` runs."""
    import django

    django.setup()
    logging.getLogger("pgqueuer").setLevel(logging.WARNING)
    connection = await connect()
    manager = PgQueuer(AsyncpgDriver(connection))
    for kind, function in work.SYNC.items():
        _register(manager, kind, function)
    try:
        yield manager
    finally:
        await connection.close()


def _register(manager, kind, function):
    if kind == "async_rest":

        async def run(job):
            await work.async_rest(int(job.payload))
    else:

        async def run(job):
            await asyncio.to_thread(function, int(job.payload))

    manager.entrypoint(kind)(run)


def _sync():
    global _queries
    if _queries is None:
        connection = psycopg.connect(dbname=DATABASE["NAME"], autocommit=True, **ADDRESS)
        _queries = SyncQueries(SyncPsycopgDriver(connection))
    return _queries


def enqueue(kind, number):
    _sync().enqueue(kind, b"%d" % number)


def bulk(kind, numbers):
    payloads = [b"%d" % number for number in numbers]
    _sync().enqueue([kind] * len(payloads), payloads, [0] * len(payloads))


def left(total):
    return sum(one.count for one in _sync().queue_size())
