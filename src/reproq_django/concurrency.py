"""``limits_concurrency``: how many runs with one key may run at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.tasks.base import Task

from reproq_django.definition import CONCURRENCY_ATTRIBUTE, Key, ReproqTask


def limits_concurrency(key: Key, to: int = 1, over_limit: str = "wait") -> Callable[[Any], Any]:
    """At most ``to`` runs with ``key`` run at a time, over all workers. Works above ``@task`` as below it.

    ``key`` is a string or a callable that gets the arguments of the run; None from it means no limit for that
    run. ``over_limit`` is that of ReproqTask: "wait", "discard" or "replace". A task of a backend of another
    make is left as it is.
    """

    def wrap(decorated: Any) -> Any:
        if isinstance(decorated, ReproqTask):
            return replace(decorated, concurrency_key=key, concurrency_limit=to, over_limit=over_limit)
        if not isinstance(decorated, Task):
            setattr(decorated, CONCURRENCY_ATTRIBUTE, (key, to, over_limit))
        return decorated

    return wrap
