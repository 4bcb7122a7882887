"""Reproq, this checkout."""

from django.tasks import default_task_backend

from bench.peers.sites.django_tasks import TASKS, enqueue
from reproq_django.models import TaskRun

__all__ = ["bulk", "enqueue", "left"]


def bulk(kind, numbers):
    default_task_backend.bulk_enqueue([(TASKS[kind], (number,)) for number in numbers])


def left(total):
    return TaskRun.objects.filter(status__in=("READY", "RUNNING", "WAITING")).count()
