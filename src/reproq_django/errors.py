"""Reproq's exceptions.

::

    ReproqError
      +-- UnsupportedArgument (TypeError)  at enqueue: a value that no run could get back
      +-- TaskUnavailable                  the code of a stored run is not in this process
      +-- InvalidSpec                      a stored run whose arguments cannot be decoded
      +-- SchemaError                      the database lacks this version's schema
      +-- RunError                         how a run ended when it was not the task that raised
            +-- TaskDiscarded   TaskReplaced   TaskExpired   TaskTimedOut   WorkerLost   ExecutorCrashed
            +-- InvalidResult   TaskNotAllowed   InfrastructureError   WorkflowFailed
    KeyboardInterrupt
      +-- TaskCancelled                    raised in a running task whose run was cancelled

Nothing raises a ``RunError`` here: they are the ``exception_class`` of a ``TaskError``, so that code can tell
the endings of a run apart. ``InvalidSpec`` is both, and so is ``TaskCancelled``.
"""

from typing import Final


class ReproqError(Exception):
    """Base class of what Reproq raises."""


class UnsupportedArgument(ReproqError, TypeError):
    """An argument of a task that cannot be stored. The message names its path, e.g. ``args[0]['x']``."""


class TaskUnavailable(ReproqError):
    """The task of a stored run cannot be found in this process."""


class SchemaError(ReproqError):
    """The database lacks the schema of this version."""


class RunError(ReproqError):
    """The run ended without a result, and not by an exception of the task."""


class InvalidSpec(RunError, ValueError):
    """The stored arguments cannot be decoded. Such a run is not retried."""


class TaskCancelled(KeyboardInterrupt):
    """Someone cancelled the run.

    Raised once in the code of a running task, wherever it is; a coroutine gets ``asyncio.CancelledError``
    instead. A task may catch it to clean up, within the worker's ``cancel_grace`` (5 s), and should raise it
    again; one that raises it by itself ends its run as CANCELLED. It is no ``Exception``, so that ``except
    Exception`` does not swallow it, and it is a ``KeyboardInterrupt`` because that is what libraries clean up
    after: psycopg cancels its query, ``subprocess`` ends its process.
    """


class TaskDiscarded(RunError):
    """The limit of its concurrency key was reached, and its ``over_limit`` is "discard"."""


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


class InvalidResult(RunError):
    """The task ended well, but its return value is not JSON."""


class TaskNotAllowed(RunError):
    """The task path is not a registered task of an allowed module."""


class InfrastructureError(RunError):
    """The worker could not start the attempt."""


class WorkflowFailed(RunError):
    """A run that this one waited for has failed."""


#: ``kind`` of an entry of ``errors_json`` -> its class. ``app_error`` carries the task's own class instead.
RUN_ERRORS: Final[dict[str, type[RunError | TaskCancelled]]] = {
    "cancelled": TaskCancelled,
    "discarded": TaskDiscarded,
    "replaced": TaskReplaced,
    "expired": TaskExpired,
    "timeout": TaskTimedOut,
    "lease_expiry": WorkerLost,
    "reclaim": WorkerLost,
    "crashed": ExecutorCrashed,
    "invalid_spec": InvalidSpec,
    "invalid_result": InvalidResult,
    "security_violation": TaskNotAllowed,
    "infra_error": InfrastructureError,
    "workflow_failed": WorkflowFailed,
}
