"""``Workflow``: how far a chain, group or chord is, and stopping it as a whole.

Models are imported late: modules with tasks may be imported while apps load.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from asgiref.sync import sync_to_async
from django.db import connections, transaction

from reproq_django.cancellation import Cancellation, cancel_runs
from reproq_django.conf import MAX_INT
from reproq_django.db import format_result_id, queue_aliases
from reproq_django.polling import delays
from reproq_django.statements import statement
from reproq_django.status import WorkflowStatus

if TYPE_CHECKING:
    from reproq_django.models import WorkflowRun
    from reproq_django.result import ReproqTaskResult


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """A snapshot of a workflow, from one row. A worker counts what has ended, within about a second."""

    status: WorkflowStatus
    #: Runs in it, without the one of ``on_failure``; those that have succeeded, and those that have ended
    #: FAILED or CANCELLED.
    expected: int
    succeeded: int
    failed: int
    created_at: datetime
    #: When its last step was over, or it was cancelled; other runs may still be going on.
    finished_at: datetime | None

    @property
    def unfinished(self) -> int:
        """Runs that have not ended."""
        return self.expected - self.succeeded - self.failed

    @property
    def is_finished(self) -> bool:
        """Whether its last step is over, or it was cancelled."""
        # Rows of the earlier system say no time.
        return self.finished_at is not None or self.status not in (
            WorkflowStatus.RUNNING,
            WorkflowStatus.WAITING_CALLBACK,
        )


@dataclass(frozen=True, slots=True)
class Workflow:
    """A workflow by its id. Making one asks no database."""

    workflow_id: UUID
    #: Alias of the database that holds it.
    db_alias: str

    @property
    def id(self) -> str:
        """The public id, as ``reproq workflow show`` takes it."""
        return str(self.workflow_id)

    @classmethod
    def get(cls, workflow_id: str | UUID) -> Self:
        """The workflow with that id, in whichever of the queues' databases it is.

        Raises WorkflowRun.DoesNotExist, ValueError for what is no id at all.
        """
        from reproq_django.models import WorkflowRun

        number = workflow_id if isinstance(workflow_id, UUID) else UUID(workflow_id)
        for alias in queue_aliases():
            if WorkflowRun.objects.using(alias).filter(pk=number).exists():
                return cls(number, alias)
        raise WorkflowRun.DoesNotExist(f"there is no workflow {number}")

    @classmethod
    def of(cls, result: ReproqTaskResult) -> Self | None:
        """The workflow that a run belongs to, also that of the run that this code is in
        (``context.task_result``); None: it is in none. Raises TaskRun.DoesNotExist.
        """
        from reproq_django.models import TaskRun

        number = result.workflow_id
        if number is None:
            runs = TaskRun.objects.using(result.db_alias).filter(pk=result.result_id)
            number = runs.values_list("workflow_id", flat=True).get()
        return None if number is None else cls(number, result.db_alias)

    def status(self) -> WorkflowState:
        """How far it is now. Raises WorkflowRun.DoesNotExist when it has been pruned."""
        row = self._row()
        return WorkflowState(
            status=WorkflowStatus(row.status),
            expected=row.expected_count,
            succeeded=row.success_count,
            failed=row.failure_count,
            created_at=row.created_at,
            finished_at=row.finished_at,
        )

    async def astatus(self) -> WorkflowState:
        """See status()."""
        return await sync_to_async(self.status)()

    def culprits(self) -> list[str]:
        """Public ids of the runs because of which steps are not over well: the first of each step."""
        from reproq_django.models import WorkflowStep

        steps = WorkflowStep.objects.using(self.db_alias).filter(
            workflow_id=self.workflow_id, culprit__isnull=False
        )
        culprits = steps.order_by("step").values_list("culprit", flat=True)
        return [format_result_id(number, self.db_alias) for number in culprits if number is not None]

    def wait(self, timeout: float | None = None, poll_interval: float = 0.5) -> WorkflowState:
        """Block until its last step is over, or it was cancelled; its state then.

        ``timeout`` and ``poll_interval`` are seconds. Raises TimeoutError. As with a result, waiting in the
        transaction that has enqueued it can only time out.
        """
        seen = _Seen(self)
        for delay in seen.delays(timeout, poll_interval):
            time.sleep(delay)
            seen.state = self.status()
        return seen.last()

    async def await_end(self, timeout: float | None = None, poll_interval: float = 0.5) -> WorkflowState:
        """See wait(); leaves the event loop free."""
        seen = _Seen(self)
        for delay in seen.delays(timeout, poll_interval):
            await asyncio.sleep(delay)
            seen.state = await self.astatus()
        return seen.last()

    def cancel(self) -> dict[int, Cancellation]:
        """Cancel everything in it that has not ended, ``on_failure`` included; what became of each of these
        runs, by the number of the run. Empty: nothing was left, or it has been cancelled before.

        It is CANCELLED from then on, unless its last step was over already; runs that are asked to stop may
        take a moment. As with a run, in a transaction
        all of this happens when that commits. Raises WorkflowRun.DoesNotExist when it has been pruned.
        """
        connection = connections[self.db_alias]
        with transaction.atomic(using=self.db_alias, savepoint=False), connection.cursor() as cursor:
            # Its row first, and held: until this is over no worker lets anything go that waits in it.
            cursor.execute(statement(connection.vendor, "cancel_workflow"), {"id": self._key()})
            if not cursor.fetchall():
                self._row()
            cursor.execute(
                statement(connection.vendor, "unfinished_members"), {"id": self._key(), "limit": MAX_INT}
            )
            return cancel_runs(self.db_alias, [result_id for (result_id,) in cursor.fetchall()])

    async def acancel(self) -> dict[int, Cancellation]:
        """See cancel()."""
        return await sync_to_async(self.cancel)()

    def _key(self) -> Any:
        """The id as the column has it."""
        return self.workflow_id if connections[self.db_alias].vendor == "postgresql" else self.workflow_id.hex

    def _row(self) -> WorkflowRun:
        from reproq_django.models import WorkflowRun

        try:
            return WorkflowRun.objects.using(self.db_alias).get(pk=self.workflow_id)
        except WorkflowRun.DoesNotExist:
            raise WorkflowRun.DoesNotExist(
                f"there is no workflow {self.id} in database {self.db_alias!r} any more"
            ) from None


class _Seen:
    """What the last look at a workflow has shown."""

    def __init__(self, workflow: Workflow) -> None:
        self.workflow = workflow
        self.state: WorkflowState | None = None

    def delays(self, timeout: float | None, poll_interval: float) -> Iterator[float]:
        return delays(
            timeout,
            poll_interval,
            lambda: self.state is not None and self.state.is_finished,
            lambda: f"workflow {self.workflow.id} is not over after {timeout} s{self._hint()}",
        )

    def last(self) -> WorkflowState:
        return self.state if self.state is not None else self.workflow.status()

    def _hint(self) -> str:
        if connections[self.workflow.db_alias].in_atomic_block:
            return "; this code is in a transaction, and what it enqueued there starts when that commits"
        if self.state is None:
            return ""
        return (
            f": {self.state.unfinished} of {self.state.expected} runs have not ended; "
            f"see `reproq workflow show {self.workflow.id}`"
        )
