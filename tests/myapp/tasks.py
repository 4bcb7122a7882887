"""The task paths that the vectors of contracts/ name."""

from django.tasks import task


@task
def noop(*args, **kwargs):
    """Nothing."""


@task
def arg_task(*args, **kwargs):
    """Nothing."""
