"""Stores a workflow: its runs, through the one spec builder and the one INSERT, its steps and its row.

All of it is one transaction, so no member can end before there is something to count it. Ids are taken
before the specs are built, because the arguments of a run may name other runs.

Members never deduplicate, whatever their task says: a run that stood for another would have two places, and
it might have ended before the workflow began.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

from asgiref.sync import sync_to_async
from django.db import IntegrityError, connections, transaction
from django.db.models.functions import Now
from django.tasks import task_backends
from django.tasks.base import Task
from django.tasks.exceptions import InvalidTask
from django.tasks.signals import task_enqueued

from reproq_django.backend import ReproqBackend
from reproq_django.db import default_alias, queue_alias
from reproq_django.enqueue import insert_runs, tell
from reproq_django.listening import enqueue_is_heard
from reproq_django.models import WorkflowRun, WorkflowStep
from reproq_django.new_rows import Inserted
from reproq_django.plan import Place, Plan, PlannedRun, Step, shaped
from reproq_django.references import holds_reference, resolved
from reproq_django.result import ReproqTaskResult
from reproq_django.spec import RunSpec
from reproq_django.statements import statement
from reproq_django.status import Dedup, RunStatus, WorkflowPolicy
from reproq_django.workflow_handle import Workflow
from reproq_django.workflows import ChordResults, WorkflowResults, _Items

#: Rows in one statement; SQLite bounds its parameters.
_STEPS_AT_ONCE = 1000


def enqueue(workflow: _Items) -> WorkflowResults | ChordResults:
    """See ``_Items.enqueue``."""
    stored = _Storing(workflow)
    stored.store()
    if enqueue_is_heard():
        for sender, result in stored.news():
            task_enqueued.send_robust(sender, task_result=result)
    return stored.shaped()


async def aenqueue(workflow: _Items) -> WorkflowResults | ChordResults:
    """See ``_Items.aenqueue``. As with abulk_enqueue, a callable key must not query the database."""
    stored = _Storing(workflow)
    await sync_to_async(stored.store, thread_sensitive=True)()
    if enqueue_is_heard():
        for sender, result in stored.news():
            await task_enqueued.asend_robust(sender, task_result=result)
    return stored.shaped()


class _Storing:
    """One enqueue of a workflow."""

    def __init__(self, workflow: _Items) -> None:
        self.plan = Plan(workflow)
        self.workflow_id = uuid4()
        self.policy = WorkflowPolicy(workflow.policy or WorkflowPolicy.FAIL)
        # By identity: a task with a dict among its options has no hash.
        self._backends: dict[int, ReproqBackend] = {}
        for run in self.plan.runs:
            if id(run.call.task) not in self._backends:
                self._backends[id(run.call.task)] = _backend_of(run.call.task)
        #: None: its arguments name other runs, which have no ids yet.
        self._specs = [None if _refers(run) else self._spec(run) for run in self.plan.runs]
        self.alias = _one_database(self.plan.runs)
        self._results: dict[Place, ReproqTaskResult] = {}

    def store(self) -> None:
        if not self.plan.runs:
            return
        # With a savepoint: an argument that is refused now must not spoil the caller's transaction.
        with transaction.atomic(using=self.alias):
            # A write comes first: on SQLite it makes sure that nobody else takes the ids that are read next.
            WorkflowStep.objects.using(self.alias).bulk_create(
                [
                    WorkflowStep(workflow_id=self.workflow_id, step=step.number, pending=step.pending)
                    for step in self.plan.steps
                ],
                batch_size=_STEPS_AT_ONCE,
            )
            for run, result_id in zip(
                self.plan.runs, _take_ids(self.alias, len(self.plan.runs)), strict=True
            ):
                run.place.result_id = result_id
            WorkflowRun.objects.using(self.alias).create(
                workflow_id=self.workflow_id,
                expected_count=self.plan.expected,
                callback_result_id=_id_of(self.plan.callback),
                failure_result_id=_id_of(self.plan.on_failure),
                policy=self.policy,
                final_step=self.plan.steps[-1].number,
                created_at=Now(),
                updated_at=Now(),
            )
            specs = [
                self._member(run, spec or self._spec(run))
                for run, spec in zip(self.plan.runs, self._specs, strict=True)
            ]
            self._insert(specs)
        tell(connections[self.alias])

    def _insert(self, specs: list[RunSpec]) -> None:
        rows = insert_runs(self.alias, specs)
        if len(rows) != len(specs):
            raise IntegrityError(
                f"{len(specs) - len(rows)} of {len(specs)} runs have ids that are taken: the sequence of "
                "task_runs.result_id is behind the table; set it to the largest id"
            )
        for run, spec, row in zip(self.plan.runs, specs, rows, strict=True):
            if isinstance(row, Inserted):
                self._results[run.place] = ReproqTaskResult.enqueued(spec, row)

    def _spec(self, run: PlannedRun) -> RunSpec:
        call = run.call
        args = resolved(list(call.args), lambda reference: self.plan.results(reference, run.place))
        kwargs = resolved(dict(call.kwargs), lambda reference: self.plan.results(reference, run.place))
        backend = self._backends[id(call.task)]
        return backend.spec_builder(call.task).build(args, kwargs)

    def _member(self, run: PlannedRun, spec: RunSpec) -> RunSpec:
        waits = run.after is not None or run.step is None
        return replace(
            spec,
            dedup=Dedup.NONE,
            result_id=run.place.result_id,
            status=RunStatus.WAITING.value if waits else RunStatus.READY.value,
            workflow_id=self.workflow_id,
            step=_number(run.step),
            after_step=_number(run.after),
        )

    def news(self) -> Iterator[tuple[type[ReproqBackend], ReproqTaskResult]]:
        """What receivers are told: who has enqueued what."""
        for run in self.plan.runs:
            yield type(self._backends[id(run.call.task)]), self._results[run.place]

    def shaped(self) -> WorkflowResults | ChordResults:
        """The answer of enqueue()."""
        handle = Workflow(self.workflow_id, self.alias) if self.plan.runs else None
        on_failure = self._results[self.plan.on_failure] if self.plan.on_failure is not None else None

        def many(items: list[Any]) -> WorkflowResults:
            return _about(WorkflowResults(items))

        def pair(items: list[Any]) -> ChordResults:
            return _about(ChordResults(items))

        def _about[T: (WorkflowResults, ChordResults)](results: T) -> T:
            results.workflow, results.on_failure = handle, on_failure
            return results

        answer: WorkflowResults | ChordResults = shaped(self.plan.root, self._results, many, pair)
        return answer


def _backend_of(task: Task) -> ReproqBackend:
    backend = task_backends[task.backend]
    if not isinstance(backend, ReproqBackend):
        raise InvalidTask(
            f"{task.module_path} is a task of TASKS[{task.backend!r}], whose backend "
            f"{type(backend).__qualname__} knows no workflows; all tasks of a workflow must be Reproq's"
        )
    backend.spec_builder(task)
    return backend


def _one_database(runs: list[PlannedRun]) -> str:
    """The database of all queues of the workflow."""
    found: dict[str, Task] = {}
    for queue, task in {run.call.task.queue_name: run.call.task for run in runs}.items():
        found.setdefault(queue_alias(queue), task)
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        raise InvalidTask(
            "the runs of a workflow must be in one database, but "
            f"{first.module_path} goes to the queue {first.queue_name!r} in {one!r} and "
            f"{second.module_path} to {second.queue_name!r} in {other!r}; see REPROQ_QUEUE_DATABASES"
        )
    return next(iter(found), default_alias())


def _take_ids(alias: str, count: int) -> list[int]:
    """So many ids of runs that nobody else gets, ascending."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(statement(connection.vendor, "take_ids"), {"count": count})
        return sorted(result_id for (result_id,) in cursor.fetchall())


def _refers(run: PlannedRun) -> bool:
    return holds_reference(run.call.args) or holds_reference(dict(run.call.kwargs))


def _number(step: Step | None) -> int | None:
    return None if step is None else step.number


def _id_of(place: Place | None) -> int | None:
    return None if place is None else place.result_id
