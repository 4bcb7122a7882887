"""django-ox, with its own bulk enqueue."""

from django_ox.bulk import enqueue_many
from django_ox.models import OxTask

from bench.peers.sites.django_tasks import TASKS, enqueue

__all__ = ["bulk", "enqueue", "left"]


def bulk(kind, numbers):
    enqueue_many(TASKS[kind], [((number,), {}) for number in numbers])


def left(total):
    return OxTask.objects.filter(status__in=("READY", "WAITING", "RUNNING")).count()
