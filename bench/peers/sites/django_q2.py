"""django-q2, with its ORM broker. It has no bulk enqueue: a transaction around single ones."""

from django.db import transaction
from django_q.models import OrmQ, Task
from django_q.tasks import async_task

from bench.peers import work

PATHS = {kind: f"bench.peers.work.{function.__name__}" for kind, function in work.SYNC.items()}


def enqueue(kind, number):
    async_task(PATHS[kind], number)


def bulk(kind, numbers):
    with transaction.atomic():
        for number in numbers:
            enqueue(kind, number)


def left(total):
    return max(OrmQ.objects.count(), total - Task.objects.count())
