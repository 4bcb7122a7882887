"""What a task with ``takes_context=True`` gets as its first argument."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.tasks.base import TaskContext

from reproq_django.errors import wait_seconds
from reproq_django.metadata import save_metadata
from reproq_django.result import ReproqTaskResult

if TYPE_CHECKING:
    from reproq_django.execution.notes import Notes

#: Bytes of a message on progress, and the largest number in it that any database takes.
_MESSAGE_LIMIT = 1024
_MOST = 1e300


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
    #: The way to the worker; None when the task was run by hand, and then nothing is said.
    notes: Notes | None = field(default=None, repr=False, compare=False)

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

    def extend_timeout(self, seconds: float | timedelta) -> None:
        """Let this attempt go on until ``seconds`` (or a timedelta) from now at least.

        The time that it has left is never shortened, and the worker's ``exec_timeout`` bounds it. The soft
        timeout moves along: it comes as long before the timeout as ever. May be called from any thread.

        Raises TypeError and ValueError for what is no such time.
        """
        wanted = wait_seconds("extend_timeout()", seconds)
        if self.notes is not None:
            self.notes.extend(wanted)

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far the task is: ``current`` of ``total``, in whatever the task counts.

        Cheap enough for each turn of a loop: the first word goes out at once, the following ones at most once
        a second, the last one at the end of the attempt. Readers find it as the run's progress. May be called
        from any thread.

        Raises TypeError for what is no number or no text, ValueError for numbers that are not finite.
        """
        numbers = (current,) if total is None else (current, total)
        for number in numbers:
            if not isinstance(number, int | float) or isinstance(number, bool):
                raise TypeError(f"progress() counts in int or float, not {number!r}")
            # Not math.isfinite: an int may be too large for it.
            if not -_MOST <= number <= _MOST:
                raise ValueError(f"progress() takes finite numbers up to {_MOST:g}, not {number!r}")
        if not isinstance(message, str):
            raise TypeError(f"progress() takes a str as its message, not {message!r}")
        if self.notes is not None:
            from reproq_django.execution.envelope import shorten

            text = shorten(message, _MESSAGE_LIMIT)
            self.notes.progress({"current": current, "total": total, "message": text})

    async def aprogress(self, current: float, total: float | None = None, message: str = "") -> None:
        """See progress(). It never waits for the database, so the event loop goes on."""
        self.progress(current, total, message)
