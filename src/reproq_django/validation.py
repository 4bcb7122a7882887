"""What the options of a task may be. Checked when the task is made, and again when it is enqueued."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from django.tasks.base import Task
from django.tasks.exceptions import InvalidTask

from reproq_django.conf import BACKOFF_DEFAULTS, MAX_INT
from reproq_django.definition import ReproqTask, backoff_policy, whole_seconds
from reproq_django.limits import ISOLATIONS, memory_bytes, soft_seconds
from reproq_django.rates import starts_per_second
from reproq_django.status import DEDUP_MODES, OVER_LIMIT

#: The time that databases can tell ends some thousand years from now.
_MAX_EXPIRES_IN: Final = timedelta(days=365_000)


def validate_options(task: Task, *, default_timeout: int | None = None) -> None:
    """Raises InvalidTask for an option that no run could honour. ``default_timeout`` is the timeout of a task
    without one, in seconds, where that is known."""
    if not isinstance(task, ReproqTask):
        return
    if task.max_attempts is not None and not (
        _is_int(task.max_attempts) and 0 < task.max_attempts <= MAX_INT
    ):
        raise InvalidTask(
            f"max_attempts must be a whole number from 1 to {MAX_INT}, not {task.max_attempts!r}."
        )
    if task.timeout is not None and not _is_timeout(task.timeout):
        raise InvalidTask(
            f"timeout must be a timedelta or a number of seconds, over 0 and up to {MAX_INT}, "
            f"not {task.timeout!r}."
        )
    if not (_is_int(task.concurrency_limit) and 0 <= task.concurrency_limit <= MAX_INT):
        raise InvalidTask(
            f"concurrency_limit must be a whole number from 0 to {MAX_INT}, not {task.concurrency_limit!r}."
        )
    if task.concurrency_key is not None and task.concurrency_limit == 0:
        raise InvalidTask("concurrency_key limits nothing without a concurrency_limit.")
    _validate_over_limit(task)
    _validate_rate(task)
    if task.expires_in is not None and not (
        isinstance(task.expires_in, timedelta) and timedelta(0) < task.expires_in <= _MAX_EXPIRES_IN
    ):
        raise InvalidTask(
            f"expires_in must be a positive timedelta of at most 1,000 years, not {task.expires_in!r}."
        )
    if task.dedup is not None and not (isinstance(task.dedup, bool) or task.dedup in DEDUP_MODES):
        raise InvalidTask('dedup must be True, False or "ready".')
    _validate_backoff(task.backoff)
    _validate_exceptions(task)
    _validate_process(task, default_timeout)


def _validate_over_limit(task: ReproqTask) -> None:
    if not isinstance(task.over_limit, str) or task.over_limit not in OVER_LIMIT:
        raise InvalidTask(f'over_limit must be "wait", "discard" or "replace", not {task.over_limit!r}.')
    if task.over_limit != "wait" and task.concurrency_key is None:
        raise InvalidTask(
            f"over_limit={task.over_limit!r} says what becomes of a run beyond the limit of its "
            "concurrency_key, and this task has none; give it a concurrency_key and a concurrency_limit."
        )


def _validate_rate(task: ReproqTask) -> None:
    if not (_is_int(task.rate_burst) and 0 < task.rate_burst <= MAX_INT):
        raise InvalidTask(f"rate_burst must be a whole number from 1 to {MAX_INT}, not {task.rate_burst!r}.")
    if task.rate_limit is not None:
        starts_per_second(task.rate_limit)
    elif task.rate_burst != 1:
        raise InvalidTask("rate_burst allows nothing without a rate_limit; give the task one.")


def _validate_backoff(backoff: Any) -> None:
    if backoff is None or callable(backoff):
        return
    if isinstance(backoff, Mapping) and (unknown := backoff.keys() - BACKOFF_DEFAULTS.keys()):
        raise InvalidTask(
            f"backoff has the unknown key {min(unknown)!r}; it takes {', '.join(BACKOFF_DEFAULTS)}."
        )
    if not isinstance(backoff, Mapping | int | float) or isinstance(backoff, bool):
        raise InvalidTask("backoff must be seconds, a policy or a callable.")
    policy = backoff_policy(backoff) or {}
    numbers = [policy["base"], policy["factor"], policy["cap"]]
    if not all(
        isinstance(number, int | float) and math.isfinite(number) and number >= 0 for number in numbers
    ):
        raise InvalidTask("backoff takes finite numbers from 0 up.")
    if not isinstance(policy["jitter"], bool):
        raise InvalidTask("backoff's jitter is True or False.")


def _validate_exceptions(task: ReproqTask) -> None:
    for name in ("retry_on", "discard_on"):
        given = getattr(task, name)
        classes = given if isinstance(given, tuple) else (given,)
        if given is not None and not all(
            isinstance(each, type) and issubclass(each, BaseException) for each in classes
        ):
            raise InvalidTask(f"{name} must be an exception class or a tuple of them, not {given!r}.")
    if task.retry_on == ():
        raise InvalidTask("retry_on is empty, so nothing would be tried again; that is max_attempts=1.")


def _validate_process(task: ReproqTask, default_timeout: int | None) -> None:
    if task.isolation is not None and task.isolation not in ISOLATIONS:
        raise InvalidTask(f'isolation must be "pool", "fork", "process" or None, not {task.isolation!r}.')
    if task.max_memory is not None:
        memory_bytes(task.max_memory)
    if task.soft_timeout is None:
        return
    soft = soft_seconds(task.soft_timeout)
    hard = default_timeout if task.timeout is None else whole_seconds(task.timeout)
    if hard is not None and soft >= hard:
        source = 'OPTIONS["TIMEOUT_SECONDS"]' if task.timeout is None else "its timeout"
        raise InvalidTask(
            f"soft_timeout ({soft:g} s) leaves no time before {source} ({hard} s), when the task is killed; "
            "make it shorter, or the timeout longer."
        )


def _is_timeout(value: Any) -> bool:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    # Also false for what is no number at all: NaN and infinity.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_INT


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
