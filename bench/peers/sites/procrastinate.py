"""procrastinate with plain functions, by its Django integration."""

from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from bench.peers import work

# Its async_rest is a coroutine: the worker runs both sorts.
FUNCTIONS = work.SYNC | {"async_rest": work.async_rest}
TASKS = {kind: app.task(function, name=f"bench.{kind}") for kind, function in FUNCTIONS.items()}


def enqueue(kind, number):
    TASKS[kind].defer(number=number)


def bulk(kind, numbers):
    TASKS[kind].batch_defer(*({"number": number} for number in numbers))


def left(total):
    return ProcrastinateJob.objects.filter(status__in=("todo", "doing")).count()
