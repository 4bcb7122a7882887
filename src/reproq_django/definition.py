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
from django.utils import timezone
from django.utils.module_loading import import_string

from reproq_django.conf import BACKOFF_DEFAULTS
from reproq_django.limits import Memory
from reproq_django.rates import Rate

#: Attribute that ``limits_concurrency`` leaves on a plain function: (key, limit, over_limit).
CONCURRENCY_ATTRIBUTE: Final = "_reproq_concurrency"

type Exceptions = type[BaseException] | tuple[type[BaseException], ...] | None
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
    #: Only exceptions of these classes are worth another attempt; a run that raises another one fails at
    #: once. A group of exceptions is worth it when all in it are. None: all are. See DEPLOYED_OPTIONS.
    retry_on: Exceptions = None
    #: Exceptions of these classes are not worth another attempt, whatever ``retry_on`` says. A group of
    #: exceptions is not when one in it is not. See DEPLOYED_OPTIONS.
    discard_on: Exceptions = None
    #: After so long (seconds or timedelta) SoftTimeout is raised in the task, which then has until
    #: ``timeout`` to clean up. None: never. See DEPLOYED_OPTIONS.
    soft_timeout: float | timedelta | None = None
    #: The most memory that the task's process may use, together with the processes that the task starts:
    #: bytes, or a text such as "256M". None: the worker's rule. See DEPLOYED_OPTIONS.
    max_memory: Memory | None = None
    #: The process that the task runs in: "pool" = a warm one that has run other tasks; "fork" = a fresh copy
    #: of the loaded site; "process" = a new Python. None: the worker decides. See DEPLOYED_OPTIONS.
    isolation: str | None = None
    #: At most one run with this key runs at a time. A callable gets the arguments of the run.
    lock_key: Key = None
    #: At most ``concurrency_limit`` runs with this key run at a time. A callable gets the arguments of the
    #: run.
    concurrency_key: Key = None
    concurrency_limit: int = 0
    #: What becomes of a run whose key is at its limit: "wait"; "discard" = it ends CANCELLED; "replace" = it
    #: waits, and those of the key that waited before it end CANCELLED.
    over_limit: str = "wait"
    #: Keys take turns: a key with many runs does not keep those of another waiting. A callable gets the
    #: arguments of the run. None: the concurrency key.
    fairness_key: Key = None
    #: How often runs may start: per second, or a text such as "100/m" or "5/15m". Up to ``rate_burst`` at
    #: once.
    rate_limit: Rate | None = None
    rate_burst: int = 1
    #: The runs that ``rate_limit`` counts together: those with this key, of whatever task. A callable gets
    #: the arguments of the run; None from it means no rate for that run. None: all runs of the task.
    rate_key: Key = None
    #: A run that is not claimed this long after its enqueue is not run any more.
    expires_in: timedelta | None = None
    #: As OPTIONS["DEDUP_ACTIVE"].
    dedup: bool | str | None = None

    def __post_init__(self) -> None:
        limits = getattr(self.func, CONCURRENCY_ATTRIBUTE, None)
        if limits is not None and self.concurrency_key is None:
            key, limit, over_limit = limits
            object.__setattr__(self, "concurrency_key", key)
            object.__setattr__(self, "concurrency_limit", limit)
            if over_limit != "wait":
                object.__setattr__(self, "over_limit", over_limit)
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
        counts from now.

        Raises TypeError for an unknown option, and for one of DEPLOYED_OPTIONS: a run does not carry those.
        """
        if fixed := options.keys() & DEPLOYED_OPTIONS:
            raise TypeError(
                f"using() cannot change {min(fixed)}: the process that runs the task reads it from the code "
                "there, it is not stored with a run; give it to the decorator"
            )
        unknown = options.keys() - TASK_OPTIONS
        if unknown:
            raise TypeError(
                f"using() got the unknown option {min(unknown)!r}; "
                f"it takes {', '.join(sorted(TASK_OPTIONS - DEPLOYED_OPTIONS))}"
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

#: Options that apply as the code in the running process states them, to all runs of the task: they are no
#: part of a run, so a deployment changes them for the runs that wait, too.
DEPLOYED_OPTIONS: Final = frozenset({"retry_on", "discard_on", "soft_timeout", "max_memory", "isolation"})


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
    retry_on: Exceptions = ...,
    discard_on: Exceptions = ...,
    soft_timeout: float | timedelta | None = ...,
    max_memory: Memory | None = ...,
    isolation: str | None = ...,
    lock_key: Key = ...,
    concurrency_key: Key = ...,
    concurrency_limit: int = ...,
    over_limit: str = ...,
    fairness_key: Key = ...,
    rate_limit: Rate | None = ...,
    rate_burst: int = ...,
    rate_key: Key = ...,
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
