"""Who watches an attempt: Django's signals, and the task itself through its context.

When nobody but Django's own logging listens and the task takes no context, the same lines are logged without
building Django's ``TaskResult`` and sending its signals, see ``listening.py``.
"""

from __future__ import annotations

import contextlib
import json
import logging
from functools import cache
from typing import Any

from django.conf import settings
from django.dispatch import Signal
from django.tasks import Task, TaskResultStatus, task_backends
from django.tasks import signals as task_signals
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskError
from django.tasks.exceptions import InvalidTaskBackend
from django.utils import timezone
from django.utils.log import RequireDebugTrue

from reproq_django.context import ReproqTaskContext
from reproq_django.execution import envelope
from reproq_django.execution.notes import Notes
from reproq_django.listening import django_logger, only_django_listens
from reproq_django.result import ReproqTaskResult
from reproq_django.status import DJANGO_STATUS, RunStatus

logger = logging.getLogger("reproq_django.execution")
_LINE = "Task id=%s path=%s state=%s"


def watch(
    run: dict[str, Any],
    task: Task[..., Any],
    alias: str,
    args: list[Any],
    kwargs: dict[str, Any],
    notes: Notes | None,
) -> Unwatched | Watched:
    """Return what has to be told about the course of this attempt. ``alias`` is the database of the run,
    ``notes`` what the task's context says to the worker."""
    if task.takes_context or not only_django_listens():
        return Watched(run, task, alias, args, kwargs, notes)
    return Unwatched(run, task)


def complain(message: str, *args: object) -> None:
    """Log the exception that is being handled, where that is possible: a task may have closed what the log
    goes to."""
    with contextlib.suppress(Exception):
        logger.exception(message, *args)


def nobody_listens() -> bool:
    """Whether nobody, nor any log, would hear of an attempt that ends well."""
    return only_django_listens() and not _would_hear_info()


@cache
def _info_is_heard() -> bool:
    """``_would_hear_info``, decided once per process."""
    return _would_hear_info()


def _would_hear_info() -> bool:
    """Whether a line at INFO can reach anybody.

    With Django's default LOGGING and DEBUG off it cannot, but the record would be made before the handler's
    filter drops it: half of what an empty task costs.
    """
    if not django_logger.isEnabledFor(logging.INFO):
        return False
    current: logging.Logger | None = django_logger
    while current is not None:
        if any(_hears_info(handler) for handler in current.handlers):
            return True
        current = current.parent if current.propagate else None
    return False


def _hears_info(handler: logging.Handler) -> bool:
    in_debug_only = any(isinstance(item, RequireDebugTrue) for item in handler.filters)
    return handler.level <= logging.INFO and (settings.DEBUG or not in_debug_only)


class Unwatched:
    """Nobody looks: log what Django's own receivers would."""

    context = None

    def __init__(self, run: dict[str, Any], task: Task[..., Any]) -> None:
        self._run = run
        self._task = task

    def started(self) -> None:
        if _info_is_heard():
            self._log(logging.INFO, TaskResultStatus.RUNNING)

    def succeeded(self, value: Any) -> None:
        if _info_is_heard():
            self._log(logging.INFO, TaskResultStatus.SUCCESSFUL)

    def failed(self, error: BaseException) -> None:
        self._log(logging.ERROR, TaskResultStatus.FAILED, error)

    def cancelled(self, error: BaseException) -> None:
        # Wanted by somebody, so no error; the traceback says how far the task had come.
        self._log(logging.WARNING, TaskResultStatus.FAILED, error)

    def snoozed(self) -> None:
        if _info_is_heard():
            self._log(logging.INFO, TaskResultStatus.READY)

    def changed_metadata(self) -> dict[str, Any] | None:
        return None

    def _log(self, level: int, status: TaskResultStatus, error: BaseException | None = None) -> None:
        path = self._task.module_path
        try:
            django_logger.log(level, _LINE, self._run["result_id"], path, status, exc_info=error)
        except Exception:  # noqa: BLE001 - a site's log handler may raise anything; it never fails a task
            complain("logging the course of %s failed", path)


class Watched:
    """Signals go out, and a task that takes it gets its context."""

    def __init__(
        self,
        run: dict[str, Any],
        task: Task[..., Any],
        alias: str,
        args: list[Any],
        kwargs: dict[str, Any],
        notes: Notes | None,
    ) -> None:
        self._sender = type(_backend_of(run, task))
        self._result = ReproqTaskResult.running(task=task, frame=run, alias=alias, args=args, kwargs=kwargs)
        self._metadata = self._result.metadata
        self._metadata_before = _as_text(self._metadata)
        self.context = (
            ReproqTaskContext(
                task_result=self._result,
                epoch=run.get("epoch"),
                attempt_number=run["attempt"],
                metadata=self._metadata,
                notes=notes,
            )
            if task.takes_context
            else None
        )

    def started(self) -> None:
        self._send(task_signals.task_started)

    def succeeded(self, value: Any) -> None:
        self._end(RunStatus.SUCCESSFUL, _return_value=value)

    def failed(self, error: BaseException) -> None:
        # FAILED as for Django, though the worker may decide to try again: this attempt has failed.
        self._end_badly(RunStatus.FAILED, error)

    def cancelled(self, error: BaseException) -> None:
        self._end_badly(RunStatus.CANCELLED, error)

    def snoozed(self) -> None:
        # Told as finished, since it was told as started; its status says that there is more to come.
        self._end(RunStatus.READY, finished_at=None)

    def _end_badly(self, status: RunStatus, error: BaseException) -> None:
        entry = TaskError(
            exception_class_path=envelope.class_path(error), traceback=envelope.traceback_of(error)
        )
        self._end(status, errors=[*self._result.errors, entry])

    def changed_metadata(self) -> dict[str, Any] | None:
        """The task's metadata if this attempt changed it."""
        return self._metadata if _as_text(self._metadata) != self._metadata_before else None

    def _end(self, status: RunStatus, **values: Any) -> None:
        told = {"status": DJANGO_STATUS[status], "raw_status": status.value, "finished_at": timezone.now()}
        values = told | values
        for name, value in values.items():
            # The dataclass is frozen for its readers; Django's own backends write to it the same way.
            object.__setattr__(self._result, name, value)
        self._send(task_signals.task_finished)

    def _send(self, signal: Signal) -> None:
        try:
            signal.send_robust(sender=self._sender, task_result=self._result)
        except BaseException:  # noqa: BLE001 - Django stops at Exception; a receiver never fails a task
            complain("a receiver of a task signal failed")


def _backend_of(run: dict[str, Any], task: Task[..., Any]) -> BaseTaskBackend:
    """The backend that enqueued the run; the task's own when its alias is gone from the settings."""
    try:
        return task_backends[run.get("backend_alias") or task.backend]
    except InvalidTaskBackend:
        return task.get_backend()


def _as_text(metadata: dict[str, Any]) -> str:
    """A copy to compare with, which a later change in place cannot reach."""
    return json.dumps(metadata, default=repr, sort_keys=False, skipkeys=True)
