"""procrastinate with coroutines, enqueued from an event loop by its own connection pool."""

from contextlib import AsyncExitStack

from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from bench.peers import work

ASYNC = True
TASKS = {kind: app.task(function, name=f"bench.{kind}") for kind, function in work.ASYNC.items()}
_stack = AsyncExitStack()


async def opened():
    _stack.enter_context(app.replace_connector(app.connector.get_worker_connector()))
    await app.open_async()


async def enqueue(kind, number):
    await TASKS[kind].defer_async(number=number)


async def bulk(kind, numbers):
    await TASKS[kind].batch_defer_async(*({"number": number} for number in numbers))


async def left(total):
    return await ProcrastinateJob.objects.filter(status__in=("todo", "doing")).acount()
