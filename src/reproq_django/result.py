"""``ReproqTaskResult``: Django's TaskResult with what Reproq knows besides.

Built from three sources: a fresh INSERT, a row, or the frame that a worker sends to the process that runs the
task.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self
from uuid import UUID

from asgiref.sync import sync_to_async
from django.apps import apps
from django.conf import settings
from django.db import connections
from django.tasks import task_backends
from django.tasks.base import TASK_REFRESH_ATTRS, Task, TaskError, TaskResult, TaskResultStatus
from django.tasks.exceptions import TaskResultDoesNotExist
from django.utils import timezone
from django.utils.module_loading import import_string

from reproq_django import history
from reproq_django.cancellation import Cancellation, cancel_runs
from reproq_django.db import format_result_id
from reproq_django.definition import ReproqTask
from reproq_django.errors import (
    RUN_ERRORS,
    InvalidSpec,
    RunError,
    TaskCancelled,
    TaskDiscarded,
    TaskReplaced,
    TaskUnavailable,
)
from reproq_django.models import TaskRun
from reproq_django.new_rows import Inserted
from reproq_django.polling import delays
from reproq_django.serialization import decode_arguments
from reproq_django.spec import RunSpec
from reproq_django.status import DJANGO_STATUS, RunStatus

_READY: Final = RunStatus.READY.value
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproqTaskResult(TaskResult):  # type: ignore[misc]  # the stubs forget that Django's is frozen
    """A snapshot of a run; ``refresh()`` takes a new one.

    ``args`` and ``kwargs`` hold typed values (datetime, UUID, ...); model instances stay in their stored
    form, since reading a result should not read other tables.
    """

    #: Number of the run in ``db_alias``; ``id`` is its public form.
    result_id: int
    #: Alias of the database that holds the run.
    db_alias: str
    #: State as stored: ``status`` folds WAITING into READY and CANCELLED into FAILED.
    raw_status: str
    metadata: dict[str, Any] = field(default_factory=dict)
    #: The attempts that have ended, oldest first, the newest 50; ``attempts`` counts the retry budget spent.
    attempt_history: tuple[history.Attempt, ...] = ()
    #: What the running attempt has said last about how far it is, or what the last one had.
    progress: history.Progress | None = None
    #: Of a member of a chain, group or chord; a running task does not see it.
    workflow_id: UUID | None = None
    #: The enqueue found this run, instead of making a new one.
    duplicate: bool = False

    def __post_init__(self) -> None:
        # Django's own turns args into plain JSON, which typed arguments are not; spec.py has checked them.
        pass

    def refresh(self) -> None:
        """Read the run again, extras included. Raises TaskResultDoesNotExist when it has been pruned."""
        self._take(task_backends[self.backend].get_result(self.id))

    async def arefresh(self) -> None:
        """See refresh()."""
        self._take(await task_backends[self.backend].aget_result(self.id))

    def cancel(self) -> Cancellation:
        """Cancel the run; what became of the wish.

        A run that has not started is CANCELLED at once. A running one is asked to stop: TaskCancelled is
        raised in its code, and its process is killed if that does not end it within the worker's
        ``cancel_grace``. In a transaction all of this happens when that commits. ``refresh()`` shows the
        run's new state. Raises TaskResultDoesNotExist when the run has been pruned.
        """
        cancelled = cancel_runs(self.db_alias, [self.result_id])
        if self.result_id not in cancelled:
            raise TaskResultDoesNotExist(f"there is no run {self.id}")
        return cancelled[self.result_id]

    async def acancel(self) -> Cancellation:
        """See cancel()."""
        return await sync_to_async(self.cancel)()

    def wait(self, timeout: float | None = None, poll_interval: float = 0.5) -> Self:
        """Block until the run has ended and return this result, refreshed.

        ``timeout`` and ``poll_interval`` are seconds; the first looks come faster. Raises TimeoutError. A run
        that was enqueued in a transaction that is still open cannot start, so waiting for it inside can only
        time out.
        """
        for delay in self._delays(timeout, poll_interval):
            time.sleep(delay)
            self.refresh()
        return self

    async def await_result(self, timeout: float | None = None, poll_interval: float = 0.5) -> Self:
        """See wait(); leaves the event loop free."""
        for delay in self._delays(timeout, poll_interval):
            await asyncio.sleep(delay)
            await self.arefresh()
        return self

    def logs(self, attempt: int | None = None) -> str:
        """What the attempts have printed so far, oldest first, read now; of one if ``attempt`` is its number.

        Standard output and standard error as the worker read them; what a running attempt prints is there
        about a second later. Empty when nothing was printed, when the worker keeps no logs in the database
        (``worker.logs``), and when they were pruned.
        """
        return history.logs(self.db_alias, self.result_id, attempt)

    async def alogs(self, attempt: int | None = None) -> str:
        """See logs()."""
        return await sync_to_async(self.logs)(attempt)

    def _delays(self, timeout: float | None, poll_interval: float) -> Iterable[float]:
        """Seconds to sleep before each look, until the run has ended."""
        return delays(
            timeout,
            poll_interval,
            lambda: self.is_finished,
            lambda: f"run {self.id} is {self.raw_status} after {timeout} s{self._hint()}",
        )

    def _hint(self) -> str:
        """Why a run may not have started."""
        if self.raw_status == RunStatus.WAITING:
            return "; it waits for other runs of its workflow"
        if self.raw_status != RunStatus.READY:
            return ""
        if connections[self.db_alias].in_atomic_block:
            return "; this code is in a transaction, and what it enqueued there starts when that commits"
        if self.task.run_after is not None and self.task.run_after > timezone.now():
            return f"; it is to start at {self.task.run_after}"
        return f"; does a worker run for the queue {self.task.queue_name!r}? See `manage.py reproq status`"

    def _take(self, fresh: TaskResult) -> None:
        for name in (*TASK_REFRESH_ATTRS, "raw_status", "metadata", "attempt_history", "progress"):
            object.__setattr__(self, name, getattr(fresh, name))

    @classmethod
    def enqueued(cls, spec: RunSpec, row: Inserted | TaskRun) -> Self:
        """The result of an enqueue: of an INSERT, or of the run that stands for the new one."""
        if isinstance(row, TaskRun):
            return cls.from_run(row, duplicate=True)
        task, run_after = spec.task, _local(spec.run_after)
        if spec.priority != task.priority or run_after != task.run_after:
            task = stored_copy(task, priority=spec.priority, run_after=run_after)
        return cls(
            task=task,
            id=format_result_id(row.result_id, spec.db_alias),
            status=TaskResultStatus.READY,
            enqueued_at=row.enqueued_at,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=spec.args,
            kwargs=spec.kwargs,
            backend=spec.backend_alias,
            errors=[],
            worker_ids=[],
            result_id=row.result_id,
            db_alias=spec.db_alias,
            raw_status=spec.status or _READY,
            workflow_id=spec.workflow_id,
        )

    @classmethod
    def from_run(cls, run: TaskRun, *, duplicate: bool = False) -> Self:
        """The result that a row describes. Never fails on old data: what cannot be decoded stays in its
        stored form."""
        alias = str(run._state.db)
        spec = run.spec_json if isinstance(run.spec_json, dict) else {}
        args, kwargs = _stored_arguments(spec)
        result = cls(
            task=_task_of_run(run, spec),
            id=format_result_id(run.result_id, alias),
            status=DJANGO_STATUS[RunStatus(run.status)],
            enqueued_at=run.enqueued_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            last_attempted_at=run.last_attempted_at,
            args=args,
            kwargs=kwargs,
            backend=run.backend_alias,
            errors=task_errors(run.errors_json, cancelled=run.status == RunStatus.CANCELLED),
            worker_ids=list(run.worker_ids or []),
            result_id=run.result_id,
            db_alias=alias,
            raw_status=str(run.status),
            metadata=dict(run.metadata_json or {}),
            attempt_history=history.attempts(run.attempts_json),
            progress=history.progress(run.progress_json),
            workflow_id=run.workflow_id,
            duplicate=duplicate,
        )
        object.__setattr__(result, "_return_value", run.return_json)
        return result

    @classmethod
    def running(
        cls,
        *,
        task: Task,
        frame: Mapping[str, Any],
        alias: str,
        args: list[Any],
        kwargs: dict[str, Any],
    ) -> Self:
        """The result that a running task sees: the ``run`` frame of contracts/executor.md, with decoded
        arguments.

        ``task`` is the registered task, ``alias`` the database of its queue. No query is made.
        """
        spec = frame["spec"]
        number = int(frame["result_id"])
        return cls(
            task=stored_copy(
                task,
                priority=spec.get("priority", task.priority),
                queue_name=spec.get("queue_name", task.queue_name),
            ),
            id=format_result_id(number, alias),
            status=DJANGO_STATUS[RunStatus.RUNNING],
            enqueued_at=_moment(frame.get("enqueued_at")),
            started_at=_moment(frame.get("started_at")),
            finished_at=None,
            last_attempted_at=_moment(frame.get("last_attempted_at")),
            args=args,
            kwargs=kwargs,
            backend=frame.get("backend_alias", task.backend),
            errors=task_errors(frame.get("errors", ())),
            worker_ids=list(frame.get("worker_ids", ())),
            result_id=number,
            db_alias=alias,
            raw_status=RunStatus.RUNNING.value,
            metadata=dict(frame.get("metadata") or {}),
        )


def task_errors(entries: Iterable[Any], *, cancelled: bool = False) -> list[TaskError]:
    """``errors_json`` as Django's TaskErrors, oldest first. ``cancelled`` makes sure that one of them says
    why it never ran to its end: TaskCancelled, where the row names nothing else."""
    errors = [_task_error(entry) for entry in entries or () if isinstance(entry, Mapping)]
    if cancelled and all(error.exception_class_path not in _CANCELLED for error in errors):
        path = _class_path(TaskCancelled)
        errors.append(TaskError(exception_class_path=path, traceback="the run was cancelled"))
    return errors


def _task_error(entry: Mapping[str, Any]) -> TaskError:
    path = entry.get("exception_class") if entry.get("kind") in ("app_error", "given_up") else None
    if not path:
        path = _class_path(RUN_ERRORS.get(str(entry.get("kind")), RunError))
    return TaskError(
        exception_class_path=str(path), traceback=str(entry.get("traceback") or entry.get("message") or "")
    )


def _class_path(error: type[BaseException]) -> str:
    return f"{error.__module__}.{error.__qualname__}"


#: How a run may have come to be CANCELLED.
_CANCELLED: Final = {_class_path(error) for error in (TaskCancelled, TaskDiscarded, TaskReplaced)}


def stored_copy(task: Task, **changes: Any) -> Task:
    """``task`` with the values of a stored run.

    Not ``dataclasses.replace``: that validates, and a run stays readable after its queue has left the
    settings.
    """
    copy = object.__new__(type(task))
    for spot in fields(task):
        object.__setattr__(copy, spot.name, changes.get(spot.name, getattr(task, spot.name)))
    return copy


def _task_of_run(run: TaskRun, spec: Mapping[str, Any]) -> Task:
    task = find_task(run.task_path) or _unavailable_task(
        run.task_path, takes_context=bool(spec.get("takes_context"))
    )
    return stored_copy(
        task,
        priority=run.priority,
        queue_name=run.queue_name,
        run_after=run.run_after,
        backend=run.backend_alias,
    )


def find_task(path: str) -> Task | None:
    """The registered task of that path, if its module is one of the site's; nothing else is imported for a
    row's sake."""
    module = path.rpartition(".")[0]
    if not module or (module not in sys.modules and apps.get_containing_app_config(module) is None):
        return None
    try:
        found = import_string(path)
    except ImportError:
        return None
    return found if isinstance(found, Task) else None


def _unavailable_task(path: str, *, takes_context: bool) -> Task:
    """A stand-in, so that the result of code that is gone can still be read. Calling it raises
    TaskUnavailable."""

    def unavailable(*args: Any, **kwargs: Any) -> Any:
        raise TaskUnavailable(f"{path} is no task of this process")

    module, _, name = path.rpartition(".")
    unavailable.__module__, unavailable.__qualname__, unavailable.__name__ = module, name, name
    stand_in = object.__new__(ReproqTask)
    for spot in fields(ReproqTask):
        # Django 6.0 has no defaults for some; from_run sets those.
        object.__setattr__(stand_in, spot.name, spot.default if spot.name != "func" else unavailable)
    object.__setattr__(stand_in, "takes_context", takes_context)
    return stand_in


def _stored_arguments(spec: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    try:
        return decode_arguments(spec, using=None)
    except InvalidSpec:
        args, kwargs = spec.get("args"), spec.get("kwargs")
        return args if isinstance(args, list) else [], kwargs if isinstance(kwargs, dict) else {}


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else _local(_EPOCH + timedelta(microseconds=microseconds))


def _local(moment: datetime | None) -> datetime | None:
    """The form that Django's DateTimeField has under the site's USE_TZ."""
    return moment if moment is None or settings.USE_TZ else timezone.make_naive(moment)
