"""Tasks with Reproq's options, and the decorator that makes them.

On Django 6.1 ``django.tasks.task`` takes the options as well (through ``task_class``); on 6.0 it does not, so
``from reproq_django import task`` is the spelling that works on both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, overload

from django.tasks import task_backends
from django.tasks.base import (
    DEFAULT_TASK_BACKEND_ALIAS,
    DEFAULT_TASK_PRIORITY,
    DEFAULT_TASK_QUEUE_NAME,
    Task,
)
from django.tasks.exceptions import InvalidTask
from django.utils import timezone
from django.utils.module_loading import import_string

from reproq_django.conf import BACKOFF_DEFAULTS, MAX_INT
from reproq_django.status import DEDUP_MODES

#: Attribute that ``limits_concurrency`` leaves on a plain function: (key, limit).
CONCURRENCY_ATTRIBUTE: Final = "_reproq_concurrency"

#: The time that databases can tell ends some thousand years from now.
_MAX_EXPIRES_IN: Final = timedelta(days=365_000)

type Key = str | Callable[..., str | None] | None
type Backoff = float | Mapping[str, Any] | Callable[[BaseException, int], float | None] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproqTask(Task):
    """Django's Task with what Reproq can do for it. None means the backend's OPTIONS decide."""

    #: How often a failing run is tried in all.
    max_attempts: int | None = None
    #: Wall-clock limit of one attempt: seconds (rounded up to whole ones) or timedelta.
    timeout: float | timedelta | None = None
    #: Delay between attempts: seconds; a policy with some of the keys base, factor, cap (seconds) and jitter
    #: (bool); or a callable (exception, attempt) -> seconds or None, which the process that ran the task
    #: asks.
    backoff: Backoff = None
    #: At most one run with this key runs at a time. A callable gets the arguments of the run.
    lock_key: Key = None
    #: At most ``concurrency_limit`` runs with this key run at a time. A callable gets the arguments of the
    #: run.
    concurrency_key: Key = None
    concurrency_limit: int = 0
    #: A run that is not claimed this long after its enqueue is not run any more.
    expires_in: timedelta | None = None
    #: As OPTIONS["DEDUP_ACTIVE"].
    dedup: bool | str | None = None

    def __post_init__(self) -> None:
        limits = getattr(self.func, CONCURRENCY_ATTRIBUTE, None)
        if limits is not None and self.concurrency_key is None:
            object.__setattr__(self, "concurrency_key", limits[0])
            object.__setattr__(self, "concurrency_limit", limits[1])
        # dataclass(slots=True) makes a second class, which super() without arguments does not know.
        Task.__post_init__(self)

    def using(
        self,
        *,
        priority: int | None = None,
        queue_name: str | None = None,
        run_after: datetime | timedelta | None = None,
        backend: str | None = None,
        **options: Any,
    ) -> ReproqTask:
        """A copy with other values. ``options`` are the fields of this class; a timedelta ``run_after``
        counts from now."""
        unknown = options.keys() - TASK_OPTIONS
        if unknown:
            raise TypeError(
                f"using() got the unknown option {min(unknown)!r}; it takes {', '.join(sorted(TASK_OPTIONS))}"
            )
        given = {
            "priority": priority,
            "queue_name": queue_name,
            "run_after": due(run_after),
            "backend": backend,
        }
        changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
        return replace(self, **changes, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        registered = import_string(self.module_path)
        changes = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            # By reference to the registered task: its function, and callables that may be lambdas, need not
            # be picklable.
            if field.name != "func" and getattr(self, field.name) != getattr(registered, field.name, None)
        }
        return _unpickle, (self.module_path, changes)


TASK_OPTIONS: Final = frozenset(field.name for field in fields(ReproqTask)) - {
    field.name for field in fields(Task)
}


def _unpickle(module_path: str, changes: dict[str, Any]) -> Task:
    registered = import_string(module_path)
    if not isinstance(registered, Task):
        raise ValueError(f"{module_path!r} is no task any more")
    return replace(registered, **changes)


@overload
def task(function: Callable[..., Any], /) -> ReproqTask: ...
@overload
def task(
    *,
    priority: int = ...,
    queue_name: str = ...,
    backend: str = ...,
    takes_context: bool = ...,
    max_attempts: int | None = ...,
    timeout: float | timedelta | None = ...,
    backoff: Backoff = ...,
    lock_key: Key = ...,
    concurrency_key: Key = ...,
    concurrency_limit: int = ...,
    expires_in: timedelta | None = ...,
    dedup: bool | str | None = ...,
) -> Callable[[Callable[..., Any]], ReproqTask]: ...
def task(
    function: Callable[..., Any] | None = None,
    *,
    priority: int = DEFAULT_TASK_PRIORITY,
    queue_name: str = DEFAULT_TASK_QUEUE_NAME,
    backend: str = DEFAULT_TASK_BACKEND_ALIAS,
    takes_context: bool = False,
    **options: Any,
) -> Any:
    """Django 6.1's ``task`` for 6.0 as well. ``options`` are the fields of ReproqTask.

    A backend of another make (Django's immediate and dummy ones in tests) does not know the options and goes
    without them. Raises TypeError for a name that is none of them, InvalidTask for a value that cannot be
    used.
    """
    if "run_after" in options:
        raise TypeError(
            "run_after is a moment, so a decorator cannot know it; use .using(run_after=...) or enqueue(...)"
        )
    if unknown := options.keys() - TASK_OPTIONS:
        raise TypeError(
            f"task() got the unknown option {min(unknown)!r}; it takes {', '.join(sorted(TASK_OPTIONS))}"
        )

    def wrap(func: Callable[..., Any]) -> Task:
        task_class = task_backends[backend].task_class
        own = options if issubclass(task_class, ReproqTask) else {}
        return task_class(
            func=func,
            priority=priority,
            queue_name=queue_name,
            backend=backend,
            takes_context=takes_context,
            run_after=None,
            **own,
        )

    return wrap if function is None else wrap(function)


def due(run_after: datetime | timedelta | None) -> datetime | None:
    """The moment that ``run_after`` means now."""
    return timezone.now() + run_after if isinstance(run_after, timedelta) else run_after


def whole_seconds(timeout: float | timedelta) -> int:
    """A timeout as the column holds it."""
    return math.ceil(timeout.total_seconds() if isinstance(timeout, timedelta) else timeout)


def backoff_policy(backoff: Any) -> dict[str, Any] | None:
    """The policy that a spec carries, complete; None when the worker's default or a callable decides."""
    if backoff is None or callable(backoff):
        return None
    if isinstance(backoff, Mapping):
        return {**BACKOFF_DEFAULTS, **backoff}
    return {"base": backoff, "factor": 1, "cap": backoff, "jitter": False}


def validate_options(task: Task) -> None:
    """Raises InvalidTask for an option that no run could honour."""
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
    if task.expires_in is not None and not (
        isinstance(task.expires_in, timedelta) and timedelta(0) < task.expires_in <= _MAX_EXPIRES_IN
    ):
        raise InvalidTask(
            f"expires_in must be a positive timedelta of at most 1,000 years, not {task.expires_in!r}."
        )
    if task.dedup is not None and not (isinstance(task.dedup, bool) or task.dedup in DEDUP_MODES):
        raise InvalidTask('dedup must be True, False or "ready".')
    _validate_backoff(task.backoff)


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


def _is_timeout(value: Any) -> bool:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    # Also false for what is no number at all: NaN and infinity.
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MAX_INT


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
