"""Chancy, by its own interface: its Django backend is new, experimental and opens a connection each time."""

import asyncio
import logging

from chancy import Chancy, Queue, job
from chancy.contrib.django.models import Job
from django.conf import settings

from bench.peers import work

SLOTS = 2
log = logging.getLogger("chancy")
log.setLevel(logging.WARNING)
app = Chancy(settings.DATABASES["default"], log=log)


@job()
def noop(*, number: int):
    return work.noop(number)


@job()
def rest(*, number: int):
    return work.rest(number)


@job()
def cpu(*, number: int):
    return work.cpu(number)


@job()
def orm(*, number: int):
    return work.orm(number)


@job()
async def async_rest(*, number: int):
    return await work.async_rest(number)


TASKS = {"noop": noop, "rest": rest, "cpu": cpu, "orm": orm, "async_rest": async_rest}


def prepare():
    async def make():
        async with Chancy(settings.DATABASES["default"]) as chancy:
            await chancy.migrate()
            await chancy.declare(
                Queue(
                    "default",
                    concurrency=SLOTS,
                    executor=Chancy.Executor.Process,
                    executor_options={"maximum_jobs_per_worker": 1_000_000},
                    polling_interval=1,
                    eager_polling=True,
                )
            )

    asyncio.run(make())


def enqueue(kind, number):
    app.sync_push(TASKS[kind].job.with_kwargs(number=number))


def bulk(kind, numbers):
    for _ in app.sync_push_many([TASKS[kind].job.with_kwargs(number=number) for number in numbers]):
        pass


def left(total):
    return Job.objects.filter(state__in=("pending", "running", "retrying")).count()
