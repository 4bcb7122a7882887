"""Reproq's exceptions.

::

    ReproqError
      +-- UnsupportedArgument (TypeError)  at enqueue: a value that no run could get back
      +-- InvalidWorkflow (ValueError)     at enqueue: a chain, group or chord that makes no sense
      +-- TaskUnavailable                  the code of a stored run is not in this process
      +-- InvalidSpec                      a stored run whose arguments cannot be decoded
      +-- SchemaError                      the database lacks this version's schema
      +-- ScheduleError (ValueError)       a schedule that cannot fire
      +-- RunError                         how a run ended when it was not the task that raised
      |     +-- TaskDiscarded   TaskReplaced   TaskExpired   TaskTimedOut   WorkerLost   ExecutorCrashed
      |     +-- TaskQuarantined   MemoryLimitExceeded
      |     +-- InvalidResult   TaskNotAllowed   InfrastructureError   WorkflowFailed
      +-- TaskWish                         raised by a task that decides what becomes of its run
            +-- Snooze   Retry   Discard   Cancel
    KeyboardInterrupt
      +-- TaskInterrupted                  raised in a running task that is to stop
            +-- TaskCancelled              its run was cancelled
            +-- SoftTimeout                it has run for its ``soft_timeout``

Nothing raises a ``RunError`` here: they are the ``exception_class`` of a ``TaskError``, so that code can tell
the endings of a run apart. ``InvalidSpec`` is both, and so are ``TaskCancelled`` and the wishes that end a
run.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

#: A wait is added to a date; no database knows dates beyond some thousand years from now.
MAX_WAIT_SECONDS: Final = 365 * 24 * 3600


class ReproqError(Exception):
    """Base class of what Reproq raises."""


class UnsupportedArgument(ReproqError, TypeError):
    """An argument of a task that cannot be stored. The message names its path, e.g. ``args[0]['x']``."""


class InvalidWorkflow(ReproqError, ValueError):
    """A chain, group or chord that cannot be enqueued: it asks for a result that cannot be there, say."""


class TaskUnavailable(ReproqError):
    """The task of a stored run cannot be found in this process."""


class SchemaError(ReproqError):
    """The database lacks the schema of this version."""


class ScheduleError(ReproqError, ValueError):
    """A schedule that cannot fire.

    Args:
        field: of ``PeriodicTask``, the one that is to blame.
        reason: what is wrong with it, for people.
    """

    def __init__(self, field: str, reason: str) -> None:
        self.field, self.reason = field, reason
        super().__init__(f"{field}: {reason}")

    def __reduce__(self) -> tuple[type[ScheduleError], tuple[str, str]]:
        return type(self), (self.field, self.reason)


class RunError(ReproqError):
    """The run ended without a result, and not by an exception of the task."""


class InvalidSpec(RunError, ValueError):
    """The stored arguments cannot be decoded. Such a run is not retried."""


class TaskInterrupted(KeyboardInterrupt):
    """Raised once in the code of a running task, wherever it is, to stop it.

    A coroutine gets ``asyncio.CancelledError`` instead, with this exception as its argument. It is no
    ``Exception``, so that ``except Exception`` does not swallow it, and it is a ``KeyboardInterrupt`` because
    that is what libraries clean up after: psycopg cancels its query, ``subprocess`` ends its process.
    """


class TaskCancelled(TaskInterrupted):
    """Someone cancelled the run.

    A task may catch it to clean up, within the worker's ``cancel_grace`` (5 s), and should raise it again;
    one that raises it by itself ends its run as CANCELLED (``Cancel`` is the plainer way).
    """


class SoftTimeout(TaskInterrupted):
    """The attempt has taken as long as the task's ``soft_timeout``.

    What is left until ``timeout`` is for cleaning up. A task that lets it pass has failed with the kind
    ``timeout``, and is tried again while it has attempts left.
    """


class TaskWish(ReproqError):
    """What a task raises to say itself what becomes of its run.

    They are ``Exception``s: a task that catches everything catches them too, so they belong outside of such a
    ``try``.
    """


class Snooze(TaskWish):
    """Call the task again later; this attempt does not count.

    Args:
        delay: seconds (int or float) or a timedelta, from 0 up to a year.

    Raises:
        TypeError, ValueError: ``delay`` is no such thing.
    """

    def __init__(self, delay: float | timedelta) -> None:
        self.seconds = wait_seconds("Snooze", delay)
        super().__init__(f"snoozed for {self.seconds:g} s")

    def __reduce__(self) -> tuple[type[Snooze], tuple[float]]:
        return type(self), (self.seconds,)


class Retry(TaskWish):
    """The attempt has failed; try again while attempts are left, whatever ``retry_on`` says.

    Args:
        after: when: seconds (int or float) or a timedelta, from 0 up to a year; None: as the task's
            ``backoff`` says.
        message: why, for people.

    Raises:
        TypeError, ValueError: ``after`` is no such thing.
    """

    def __init__(self, after: float | timedelta | None = None, message: str = "") -> None:
        self.after = None if after is None else wait_seconds("Retry", after)
        self.message = message
        super().__init__(message or "the task asks to be tried again")

    def __reduce__(self) -> tuple[type[Retry], tuple[float | None, str]]:
        return type(self), (self.after, self.message)


class Discard(TaskWish):
    """No attempt can succeed: the run ends as FAILED now. ``reason`` is for people."""

    def __init__(self, reason: str = "the task has given up") -> None:
        super().__init__(reason)


class Cancel(TaskWish):
    """The run is not wanted any more: it ends as CANCELLED. ``reason`` is for people."""

    def __init__(self, reason: str = "the task has cancelled its run") -> None:
        super().__init__(reason)


def wait_seconds(what: str, delay: object) -> float:
    """``delay`` in seconds. ``what`` names the caller in TypeError and ValueError."""
    if isinstance(delay, timedelta):
        delay = delay.total_seconds()
    if not isinstance(delay, int | float) or isinstance(delay, bool):
        raise TypeError(f"{what} takes seconds as a number or a timedelta, not {delay!r}")
    # False for NaN as well.
    if not 0 <= delay <= MAX_WAIT_SECONDS:
        raise ValueError(f"{what} takes from 0 to {MAX_WAIT_SECONDS} seconds (a year), not {delay!r}")
    return float(delay)


class TaskDiscarded(RunError):
    """It is not needed: the limit of its concurrency key was reached, and its ``over_limit`` is "discard"; or
    it is the ``on_failure`` of a workflow that has succeeded."""


class TaskReplaced(RunError):
    """A newer run of its concurrency key took its place in line, and its ``over_limit`` is "replace"."""


class TaskExpired(RunError):
    """The run was not claimed before its ``expires_at``."""


class TaskTimedOut(RunError):
    """The attempt took longer than the run's ``timeout_seconds`` and was killed."""


class WorkerLost(RunError):
    """The worker stopped renewing its lease during the last attempt."""


class ExecutorCrashed(RunError):
    """The process that ran the task died: a signal, a hard exit, or the kernel's out-of-memory killer."""


class TaskQuarantined(RunError):
    """The run has killed its process three times and is not given another."""


class MemoryLimitExceeded(RunError):
    """The attempt used more memory than the task's ``max_memory``."""


class InvalidResult(RunError):
    """The task ended well, but its return value is not JSON."""


class TaskNotAllowed(RunError):
    """The task path is not a registered task of an allowed module."""


class InfrastructureError(RunError):
    """The worker could not start the attempt."""


class WorkflowFailed(RunError):
    """A run that this one waited for has failed."""


#: ``kind`` of an entry of ``errors_json`` -> its class. ``app_error`` carries the task's own class instead,
#: and so does ``given_up``.
RUN_ERRORS: Final[dict[str, type[RunError | TaskCancelled | Discard]]] = {
    "cancelled": TaskCancelled,
    "given_up": Discard,
    "discarded": TaskDiscarded,
    "replaced": TaskReplaced,
    "expired": TaskExpired,
    "timeout": TaskTimedOut,
    "memory_limit": MemoryLimitExceeded,
    "quarantined": TaskQuarantined,
    "lease_expiry": WorkerLost,
    "reclaim": WorkerLost,
    "crashed": ExecutorCrashed,
    "invalid_spec": InvalidSpec,
    "invalid_result": InvalidResult,
    "security_violation": TaskNotAllowed,
    "infra_error": InfrastructureError,
    "workflow_failed": WorkflowFailed,
}
