"""One attempt but for the call itself: what comes before it, and what its return or its exception means.

Nothing here knows how a task is called or interrupted: alone in its process (``run``), or beside others.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.tasks import Task

from reproq_django import errors, limits, serialization
from reproq_django.execution import endings, envelope, observers, site
from reproq_django.execution.notes import Channel, Notes

Run = dict[str, Any]

DATABASE_VARIABLE = "REPROQ_DB_ALIAS"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A task as the code in this process has it."""

    task: Task[..., Any]
    is_coroutine: bool
    soft_timeout_seconds: float | None
    max_memory_bytes: int | None
    retry_on: endings.Classes
    discard_on: endings.Classes


#: Tasks found so far. A site's tasks do not change while the process lives.
_resolved: dict[str, Resolved] = {}


def resolve(task_path: str) -> Resolved:
    """Return the registered task at ``task_path``.

    Raises:
        errors.TaskNotAllowed: it is in no allowed module, or it is no ``django.tasks.Task``.
    """
    resolved = _resolved.get(task_path)
    if resolved is not None:
        return resolved
    found, names = site.find_module(task_path)
    for name in names:
        found = getattr(found, name, None)
    if not isinstance(found, Task):
        raise errors.TaskNotAllowed(
            f"{task_path!r} is not a registered task: "
            "it has to be a module-level function under django.tasks.task"
        )
    if not site.allowed(found.func.__module__):
        raise errors.TaskNotAllowed(
            f"{task_path!r} is a task of {found.func.__module__!r}, which is not allowed"
        )
    _resolved[task_path] = _described(found)
    return _resolved[task_path]


@contextlib.contextmanager
def known(task_path: str, task: Task[..., Any]) -> Iterator[None]:
    """Meanwhile ``task`` is what is found at ``task_path``, whether or not it would be allowed."""
    _resolved[task_path] = _described(task)
    try:
        yield
    finally:
        del _resolved[task_path]


def _described(task: Task[..., Any]) -> Resolved:
    # Tasks of a backend of another make have none of the options.
    soft, memory = getattr(task, "soft_timeout", None), getattr(task, "max_memory", None)
    return Resolved(
        task=task,
        is_coroutine=inspect.iscoroutinefunction(task.func),
        soft_timeout_seconds=None if soft is None else limits.soft_seconds(soft),
        max_memory_bytes=None if memory is None else limits.memory_bytes(memory),
        retry_on=getattr(task, "retry_on", None),
        discard_on=getattr(task, "discard_on", None),
    )


@dataclass(slots=True)
class Attempt:
    """An attempt that is ready to be called: ``known.task.func(*args, **kwargs)``.

    Exactly one of ``returned`` and ``raised`` follows; both give the envelope as JSON text.
    """

    run: Run
    known: Resolved
    args: list[Any]
    kwargs: dict[str, Any]
    watch: observers.Unwatched | observers.Watched
    notes: Notes | None

    def soft_timeout(self) -> tuple[float, float] | None:
        """The soft timeout in seconds, and how many seconds later the hard one comes."""
        soft = self.known.soft_timeout_seconds
        if soft is None:
            return None
        hard = (self.run["spec"].get("exec") or {}).get("timeout_seconds", soft)
        return soft, max(hard - soft, 0.0)

    def returned(self, value: Any) -> str:
        """The task has returned ``value``."""
        try:
            text = envelope.encode(value)
        except errors.InvalidResult as error:
            self._close_notes()
            self.watch.failed(error)
            return envelope.refused(envelope.INVALID_RESULT, error, metadata=self.watch.changed_metadata())
        except BaseException as error:  # noqa: BLE001 - what it returned may have code of its own
            return self.raised(error)
        self._close_notes()
        self.watch.succeeded(value)
        return envelope.succeeded(text, metadata=self.watch.changed_metadata())

    def raised(self, error: BaseException) -> str:
        """The task has raised ``error``. Call it while that is handled: a receiver which logs then finds the
        traceback as Django promises."""
        self._close_notes()
        known = self.known
        kind = endings.kind_of(
            error,
            retry_on=known.retry_on,
            discard_on=known.discard_on,
            has_memory_limit=known.max_memory_bytes is not None,
        )
        wait = endings.wait_of(error)
        if kind == envelope.SNOOZED:
            self.watch.snoozed()
        elif kind == envelope.CANCELLED:
            self.watch.cancelled(error)
        else:
            self.watch.failed(error)
            if wait is None and kind != envelope.GIVEN_UP:
                wait = _retry_in(known.task, error, self.run)
        return envelope.failed(error, kind=kind, retry_in=wait, metadata=self.watch.changed_metadata())

    def _close_notes(self) -> None:
        if self.notes is not None:
            self.notes.close()


def begin(
    run: Run, channel: Channel | None = None, extended: Callable[[float], None] | None = None
) -> Attempt | str:
    """Find the task, decode its arguments, tell who watches, tell the worker the task's limits.

    Args:
        run: the ``run`` message of the contract; in mode ``process`` the same keys, as far as they are known.
        channel: where the run's notes go.
        extended: called with the seconds by which the task extends its timeout.

    Returns:
        What is to be called, or the envelope of a run that cannot be.
    """
    spec = run["spec"]
    path = spec.get("task_path") if isinstance(spec, dict) else None
    if not isinstance(path, str):
        return envelope.refused(envelope.INVALID_SPEC, errors.InvalidSpec("the spec has no task_path"))
    try:
        known = resolve(path)
    except errors.TaskNotAllowed as error:
        return envelope.refused(envelope.SECURITY_VIOLATION, error)
    alias = _alias()
    try:
        args, kwargs = serialization.decode_arguments(spec, alias)
    except errors.InvalidSpec as error:
        return envelope.refused(envelope.INVALID_SPEC, error)
    notes = None
    if known.task.takes_context or known.max_memory_bytes is not None:
        notes = Notes(channel, run, extended)
    watch = observers.watch(run, known.task, alias, args, kwargs, notes)
    watch.started()
    if watch.context is not None:
        args = [watch.context, *args]
    if notes is not None and known.max_memory_bytes is not None:
        notes.limits(known.max_memory_bytes)
    return Attempt(run, known, args, kwargs, watch, notes)


@cache
def _alias() -> str:
    """The site's alias of the queue's database, which is the same for all runs of a process."""
    return os.environ.get(DATABASE_VARIABLE) or "default"


def _retry_in(task: Task[..., Any], error: BaseException, run: Run) -> float | None:
    """Seconds until the next attempt as the task's own ``backoff(exception, attempt)`` wants it.

    A callable that raises or answers nonsense must not hide the task's error, so the worker's rule applies
    instead.
    """
    backoff = getattr(task, "backoff", None)
    if not callable(backoff):
        return None
    try:
        answer = backoff(error, run["attempt"])
        seconds = -1.0 if answer is None else float(answer)
    except Exception:  # noqa: BLE001 - the task's code; its failure is logged and the default delay used
        observers.complain("backoff of %s failed", task.module_path)
        return None
    return seconds if 0 <= seconds < float("inf") else None
