"""Tasks with ``@recurring``, for its tests. The module is not named ``tasks``: nobody imports it unasked."""

from datetime import timedelta

from django.tasks import task as django_task

from reproq_django import task
from reproq_django.concurrency import limits_concurrency
from reproq_django.recurring import recurring


@recurring(schedule="0 2 * * *", key="above", timezone="Europe/Prague", args=(1,), kwargs={"b": 2})
@django_task
def above(a, b=0):
    return a + b


@django_task(queue_name="mail", priority=7)
@recurring(every=timedelta(minutes=5), key="below", jitter=30, overlap="skip")
def below():
    return "below"


@recurring(schedule="@hourly", key="own-first", args=("eu",))
@recurring(schedule="@daily", key="own-second", args=("us",), enabled=False, max_attempts=9)
@task(timeout=120, max_attempts=5, lock_key=lambda region: f"region:{region}", backoff=3)
def own(region):
    return region


@limits_concurrency("limited", to=2)
@recurring(schedule="*/10 * * * *")
@task
def limited():
    """Keyed by its path."""


@recurring(schedule="0 0 * * 0", key="bare", kwargs={"wait": timedelta(days=1)})
def bare(wait):
    return wait


made_of_bare = bare  # what `bare` is called before it becomes a task
bare = task(bare)
