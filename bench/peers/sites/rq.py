"""RQ, by django-rq."""

import django_rq
from rq.registry import StartedJobRegistry

from bench.peers import work


def enqueue(kind, number):
    django_rq.enqueue(work.SYNC[kind], number)


def bulk(kind, numbers):
    queue = django_rq.get_queue()
    queue.enqueue_many([queue.prepare_data(work.SYNC[kind], args=(number,)) for number in numbers])


def left(total):
    queue = django_rq.get_queue()
    return queue.count + StartedJobRegistry(queue=queue).count
