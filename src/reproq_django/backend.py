"""The ``django.tasks`` backend: validate, build the spec, insert, tell the receivers.

::

    TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend", "QUEUES": [...], "OPTIONS": {...}}}

The keys of OPTIONS are those of ``conf.BackendOptions``. Models are imported late: Django makes backends
while apps load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import starmap
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from asgiref.sync import sync_to_async
from django.core.checks import CheckMessage
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import Task
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist
from django.tasks.signals import task_enqueued

from reproq_django.checks import check_backend
from reproq_django.conf import BackendOptions
from reproq_django.db import parse_result_id, queue_alias
from reproq_django.definition import ReproqTask
from reproq_django.listening import enqueue_is_heard
from reproq_django.serialization import is_inert
from reproq_django.spec import RunSpec, SpecBuilder
from reproq_django.validation import validate_options

if TYPE_CHECKING:
    from reproq_django.result import ReproqTaskResult

#: Tasks whose builders are kept; each ``using()`` makes another task.
_MAX_BUILDERS: Final = 1000

type BulkItem = Task | tuple[Task, Sequence[Any]] | tuple[Task, Sequence[Any], Mapping[str, Any]]


class ReproqBackend(BaseTaskBackend):
    """Runs live in a table of the site's database; the worker ``reproq`` executes them.

    An enqueue is part of the current transaction: it commits or vanishes with it.
    """

    task_class = ReproqTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self.reproq_options = BackendOptions.from_mapping(self.options)
        # By identity: a task with a dict among its options has no hash. A builder keeps its task alive.
        self._builders: dict[int, SpecBuilder] = {}

    def spec_builder(self, task: Task) -> SpecBuilder:
        """What makes the specs of the task's runs. Raises InvalidTask for a task that ``validate_task``
        refuses, which is asked once for each task."""
        found = self._builders.get(id(task))
        if found is None:
            self.validate_task(task)
            found = SpecBuilder(task, self.alias, self.reproq_options)
            if not isinstance(getattr(task, "backoff", None), Mapping):
                # A dict may be another one at the next enqueue.
                if len(self._builders) >= _MAX_BUILDERS:
                    self._builders.clear()
                self._builders[id(task)] = found
        return found

    def validate_task(self, task: Task) -> None:
        """Django's rules and those of Reproq's options. Raises InvalidTask."""
        if self.queues and task.queue_name not in self.queues:
            # Django's rule too, but its message does not say which queues there are.
            raise InvalidTask(
                f"{task.module_path} wants the queue {task.queue_name!r}, which is not one of "
                f'TASKS[{self.alias!r}]["QUEUES"] = {sorted(self.queues)}; add it there, or use one of those.'
            )
        super().validate_task(task)
        validate_options(task, default_timeout=self.reproq_options.timeout_seconds)

    def enqueue(
        self, task: Task, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> ReproqTaskResult:
        """Store one run. ``result.duplicate`` tells whether a twin stood for it; receivers hear of new runs
        only.

        ``kwargs`` may hold ``run_after`` (aware datetime, or timedelta from now), ``priority``, ``lock_key``,
        ``concurrency_key``, ``concurrency_limit``, ``fairness_key`` and ``rate_key``, unless the function
        declares a parameter of that name itself. Raises what ``spec.build`` raises, and the database's own
        errors.
        """
        return self.bulk_enqueue([(task, args, kwargs or {})])[0]

    async def aenqueue(
        self, task: Task, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> ReproqTaskResult:
        """See enqueue(). Only the INSERT leaves the event loop."""
        return (await self.abulk_enqueue([(task, args, kwargs or {})]))[0]

    def bulk_enqueue(self, items: Iterable[BulkItem]) -> list[ReproqTaskResult]:
        """Store many runs: one round trip per 1,000 and database, each database all or nothing. Results in
        input order.

        An item is a task, (task, args) or (task, args, kwargs). Nothing is stored when any of them is
        refused.
        """
        results = _store(self._batches(items))
        if enqueue_is_heard():
            for result in results:
                if not result.duplicate:
                    task_enqueued.send_robust(type(self), task_result=result)
        return results

    async def abulk_enqueue(self, items: Iterable[BulkItem]) -> list[ReproqTaskResult]:
        """See bulk_enqueue(). Specs are built in the event loop, so a callable key must not query the
        database."""
        # All of them now: what is passed may change as soon as others have their turn.
        batches = self._batches(items, at_once=True)
        results = await sync_to_async(_store, thread_sensitive=True)(batches)
        if enqueue_is_heard():
            for result in results:
                if not result.duplicate:
                    await task_enqueued.asend_robust(type(self), task_result=result)
        return results

    def get_result(self, result_id: str | int) -> ReproqTaskResult:
        """The run with that public id, in either form. Raises TaskResultDoesNotExist."""
        from reproq_django.models import TaskRun
        from reproq_django.result import ReproqTaskResult

        number, alias = parse_result_id(result_id)
        try:
            run = TaskRun.objects.using(alias).get(result_id=number)
        except TaskRun.DoesNotExist:
            raise TaskResultDoesNotExist(f"there is no run {result_id!r}") from None
        return ReproqTaskResult.from_run(run)

    def save_metadata(self, result_id: str | int, metadata: dict[str, Any]) -> None:
        """Replace the metadata of a run. Raises TypeError for what is not JSON, TaskResultDoesNotExist."""
        from reproq_django.metadata import save_metadata

        number, alias = parse_result_id(result_id)
        save_metadata(alias, number, metadata)

    async def asave_metadata(self, result_id: str | int, metadata: dict[str, Any]) -> None:
        """See save_metadata()."""
        await sync_to_async(self.save_metadata, thread_sensitive=True)(result_id, metadata)

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """System checks of this alias; the others are in checks.py."""
        return check_backend(self.alias, self.options)

    def _batches(self, items: Iterable[BulkItem], *, at_once: bool = False) -> list[_Batch]:
        """What goes to each database.

        Unless ``at_once``, specs that nothing of the site's has a say in are made when they are wanted, so
        that it can happen while the server inserts others.
        """
        from reproq_django.enqueue import MAX_ROWS

        calls = [(self.spec_builder(task), args, kwargs) for task, args, kwargs in map(_parts, items)]
        aliases = [queue_alias(builder.task.queue_name) for builder, _, _ in calls]
        specs = (builder.build(args, kwargs) for builder, args, kwargs in calls)
        may_wait = not at_once and len(calls) > MAX_ROWS and len(set(aliases)) == 1
        if may_wait and all(starmap(_is_inert, calls)):
            return [_Batch(aliases[0], range(len(calls)), specs)]
        built = list(specs)
        batches = []
        for alias in dict.fromkeys(aliases):
            places = [place for place, other in enumerate(aliases) if other == alias]
            batches.append(_Batch(alias, places, [built[place] for place in places]))
        return batches


class _Batch(NamedTuple):
    """Runs for one database, and their places among all."""

    alias: str
    places: Sequence[int]
    specs: Iterable[RunSpec]


def _is_inert(builder: SpecBuilder, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether the spec of a call can be made without asking the site's code, which may use the database."""
    if not builder.is_inert or (kwargs and type(kwargs) is not dict):
        return False
    try:
        return is_inert(args) and (not kwargs or is_inert(kwargs))
    except RecursionError:
        return False


def _parts(item: BulkItem) -> tuple[Task, tuple[Any, ...] | list[Any], Mapping[str, Any]]:
    if isinstance(item, Task):
        return item, (), {}
    # Strings and dicts could be iterated too, and would make arguments that nobody meant.
    if isinstance(item, tuple) and 2 <= len(item) <= 3:
        task, args, *rest = item
        kwargs = rest[0] if rest else {}
        if isinstance(task, Task) and isinstance(args, (list, tuple)) and isinstance(kwargs, (dict, Mapping)):
            return task, args, kwargs
    raise TypeError(
        f"cannot enqueue {item!r}: an item is a task, (task, args) or (task, args, kwargs), "
        "with args in a list or tuple and kwargs in a dict"
    )


def _store(batches: list[_Batch]) -> list[ReproqTaskResult]:
    """Insert, database by database, and answer in input order."""
    from reproq_django.enqueue import insert_runs
    from reproq_django.result import ReproqTaskResult

    found: dict[int, ReproqTaskResult] = {}
    for alias, places, specs in batches:
        found |= zip(places, insert_runs(alias, specs, ReproqTaskResult.enqueued), strict=True)
    return [found[place] for place in range(len(found))]
