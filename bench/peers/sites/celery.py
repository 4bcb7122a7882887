"""Celery, with whichever broker the settings name."""

from celery import Celery
from django.conf import settings
from kombu import Queue

from bench.peers import work

app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")
TASKS = {kind: app.task(function, name=f"bench.{kind}") for kind, function in work.SYNC.items()}


def enqueue(kind, number):
    TASKS[kind].delay(number)


def bulk(kind, numbers):
    """There is no bulk enqueue; one connection for all of them is what the manual advises."""
    with app.producer_pool.acquire(block=True) as producer:
        for number in numbers:
            TASKS[kind].apply_async((number,), producer=producer)


def left(total):
    """RabbitMQ does not say what is with a worker; the witness has seen it begin by then."""
    with app.connection_or_acquire() as connection:
        if settings.CELERY_BROKER_URL.startswith("redis"):
            client = connection.default_channel.client
            return client.llen("celery") + client.hlen("unacked")
        queue = Queue(settings.CELERY_TASK_DEFAULT_QUEUE, channel=connection.default_channel)
        # Not passive: before the first task there is none.
        return queue.queue_declare().message_count
