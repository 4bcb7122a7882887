"""One attempt: resolve the task, decode its arguments, call it, encode what it gave back, say how it ended.

Both modes of the executor come through ``execute``. It never raises: whatever a task does, short of ending
the process, becomes an envelope (``contracts/executor.md``).
"""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable
from typing import Any

from django.tasks import Task
from django.utils import timezone, translation

from reproq_django import errors, serialization
from reproq_django.execution import envelope, interrupt, loop, observers, site

Run = dict[str, Any]

DATABASE_VARIABLE = "REPROQ_DB_ALIAS"

#: Tasks found so far, with whether they are coroutine functions. A site's tasks do not change while the
#: process lives.
_resolved: dict[str, tuple[Task[..., Any], bool]] = {}


def execute(run: Run) -> str:
    """Run one attempt and return its envelope as JSON text.

    Args:
        run: the ``run`` message of the contract; in mode ``process`` the same keys, as far as they are known.
    """
    interrupt.install()
    try:
        return _whole(run)
    except BaseException as error:  # noqa: BLE001 - the executor's boundary: SystemExit and the like end a task, not us
        return envelope.failed(error)
    finally:
        _tidy()


def by_hand(result_id: str, attempt: int, spec: dict[str, Any]) -> Run:
    """The run of mode ``process``, where only the spec and two numbers are known."""
    now = time.time_ns() // 1000
    return {
        "result_id": result_id,
        "attempt": attempt,
        "worker_id": os.environ.get("WORKER_ID", ""),
        "started_at": now,
        "last_attempted_at": now,
        "worker_ids": [],
        "errors": [],
        "metadata": {},
        "spec": spec,
    }


def resolve(task_path: str) -> tuple[Task[..., Any], bool]:
    """Return the registered task at ``task_path`` and whether its function is a coroutine function.

    Raises:
        errors.TaskNotAllowed: it is in no allowed module, or it is no ``django.tasks.Task``.
    """
    known = _resolved.get(task_path)
    if known is not None:
        return known
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
    _resolved[task_path] = found, inspect.iscoroutinefunction(found.func)
    return _resolved[task_path]


class Attempt:
    """A call that is ready to be made, and the words for how it ends.

    Whoever makes the call says either ``returned`` or ``raised``, once; both return the envelope.
    """

    def __init__(
        self, run: Run, task: Task[..., Any], is_coroutine: bool, args: list[Any], kwargs: dict[str, Any]
    ) -> None:
        alias = os.environ.get(DATABASE_VARIABLE) or "default"
        self.run, self.task, self.is_coroutine = run, task, is_coroutine
        self.watch = observers.watch(run, task, alias, args, kwargs)
        self.args = args if self.watch.context is None else [self.watch.context, *args]
        self.kwargs = kwargs

    def returned(self, value: Any) -> str:
        """The task has returned ``value``."""
        try:
            text = envelope.encode(value)
        except errors.InvalidResult as error:
            self.watch.failed(error)
            return envelope.refused(envelope.INVALID_RESULT, error, metadata=self.watch.changed_metadata())
        self.watch.succeeded(value)
        return envelope.succeeded(text, metadata=self.watch.changed_metadata())

    def raised(self, error: BaseException) -> str:
        """The task has raised ``error``. To be called while that is handled, so that a receiver which logs
        finds the traceback as Django promises."""
        if isinstance(error, errors.TaskCancelled):
            self.watch.cancelled(error)
            return envelope.cancelled(error, metadata=self.watch.changed_metadata())
        self.watch.failed(error)
        retry_in = _retry_in(self.task, error, self.run)
        return envelope.failed(error, retry_in=retry_in, metadata=self.watch.changed_metadata())


def begin(run: Run) -> Attempt | str:
    """Get ready for the call of ``run``; a ``str`` is the envelope of one that cannot be made."""
    spec = run["spec"]
    path = spec.get("task_path") if isinstance(spec, dict) else None
    if not isinstance(path, str):
        return envelope.refused(envelope.INVALID_SPEC, errors.InvalidSpec("the spec has no task_path"))
    try:
        task, is_coroutine = resolve(path)
    except errors.TaskNotAllowed as error:
        return envelope.refused(envelope.SECURITY_VIOLATION, error)
    alias = os.environ.get(DATABASE_VARIABLE) or "default"
    try:
        args, kwargs = serialization.decode_arguments(spec, alias)
    except errors.InvalidSpec as error:
        return envelope.refused(envelope.INVALID_SPEC, error)
    return Attempt(run, task, is_coroutine, args, kwargs)


def _whole(run: Run) -> str:
    attempt = begin(run)
    if isinstance(attempt, str):
        return attempt
    attempt.watch.started()
    call = loop.call if attempt.is_coroutine else interrupt.call
    try:
        value = call(attempt.task.func, attempt.args, attempt.kwargs)
    except BaseException as error:  # noqa: BLE001 - a task may raise anything; see execute
        return attempt.raised(error)
    return attempt.returned(value)


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
        observers.logger.exception("backoff of %s failed", task.module_path)
        return None
    return seconds if 0 <= seconds < float("inf") else None


def stop_event_loop() -> None:
    """Close the event loop of this process, if a coroutine has run."""
    loop.stop()


def _tidy() -> None:
    """Leave nothing of this attempt to the next one."""
    clean: tuple[Callable[[], None], ...] = (
        # A query may have been cut off half-way: the next run gets fresh connections.
        site.close_connections if interrupt.happened() else site.tidy_connections,
        translation.deactivate,
        timezone.deactivate,
        loop.tidy_threads,
    )
    for step in clean:
        try:
            step()
        except Exception:  # noqa: BLE001 - a lost database must not turn a result that exists into a dead child
            observers.logger.exception("cleaning up after a task failed")
