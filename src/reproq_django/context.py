"""What a task with ``takes_context=True`` gets as its first argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import sync_to_async
from django.tasks.base import TaskContext

from reproq_django.metadata import save_metadata
from reproq_django.result import ReproqTaskResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproqTaskContext(TaskContext):  # type: ignore[misc]  # the stubs forget that Django's is frozen
    """Django's TaskContext with the run's identity and its metadata.

    ``metadata`` may be changed in place: it is saved at the end of the attempt, or at once by
    ``save_metadata()``.
    """

    task_result: ReproqTaskResult
    #: Fence of this attempt; None when the task was run by hand, and then nothing is saved.
    epoch: int | None = None
    #: Number of this attempt, from 1; None: as Django counts.
    attempt_number: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def attempt(self) -> int:
        """Number of this attempt against ``max_attempts``, from 1."""
        return self.task_result.attempts if self.attempt_number is None else self.attempt_number

    @property
    def result_id(self) -> str:
        """Public id of the run."""
        return self.task_result.id

    @property
    def task_path(self) -> str:
        """Dotted path of the task."""
        return self.task_result.task.module_path

    @property
    def queue_name(self) -> str:
        """Queue of the run."""
        return self.task_result.task.queue_name

    @property
    def priority(self) -> int:
        """Priority of the run."""
        return self.task_result.task.priority

    @property
    def db_alias(self) -> str:
        """Alias of the database that holds the run."""
        return self.task_result.db_alias

    def save_metadata(self) -> None:
        """Make ``metadata`` visible to others now. Raises MetadataNotSaved when this attempt is over for the
        database."""
        if self.epoch is not None:
            save_metadata(self.db_alias, self.task_result.result_id, self.metadata, epoch=self.epoch)

    async def asave_metadata(self) -> None:
        """See save_metadata()."""
        await sync_to_async(self.save_metadata, thread_sensitive=True)()
