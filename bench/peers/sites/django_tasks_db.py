"""django-tasks-db. It has no bulk enqueue: a transaction around single ones is what its users have."""

from django.db import transaction
from django_tasks_db.models import DBTaskResult

from bench.peers.sites.django_tasks import TASKS, enqueue

__all__ = ["bulk", "enqueue", "left"]


def bulk(kind, numbers):
    with transaction.atomic():
        for number in numbers:
            TASKS[kind].enqueue(number)


def left(total):
    return DBTaskResult.objects.filter(status__in=("READY", "RUNNING")).count()
