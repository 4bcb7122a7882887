"""What an exception that has left a task means for its run."""

from __future__ import annotations

import errno

from reproq_django import errors
from reproq_django.execution import envelope

type Classes = type[BaseException] | tuple[type[BaseException], ...] | None


def kind_of(error: BaseException, *, retry_on: Classes, discard_on: Classes, has_memory_limit: bool) -> str:
    """The kind of envelope: ``app_error`` when nothing speaks against another attempt.

    Args:
        retry_on, discard_on: the task's options.
        has_memory_limit: whether the task has a ``max_memory``.
    """
    match error:
        case errors.TaskCancelled() | errors.Cancel():
            return envelope.CANCELLED
        case errors.Snooze():
            return envelope.SNOOZED
        case errors.Discard():
            return envelope.GIVEN_UP
        case errors.Retry():
            return envelope.APP_ERROR
    if discard_on is not None and _any_is(error, discard_on):
        return envelope.GIVEN_UP
    if isinstance(error, errors.SoftTimeout):
        return envelope.TIMEOUT
    if has_memory_limit and _is_lack_of_memory(error):
        return envelope.MEMORY_LIMIT
    if retry_on is not None and not _all_are(error, retry_on):
        return envelope.GIVEN_UP
    return envelope.APP_ERROR


def wait_of(error: BaseException) -> float | None:
    """Seconds until the next attempt, if the exception says so itself."""
    if isinstance(error, errors.Snooze):
        return error.seconds
    return error.after if isinstance(error, errors.Retry) else None


def _is_lack_of_memory(error: BaseException) -> bool:
    # A fork or a mapping that the kernel refuses is an OSError.
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def _any_is(error: BaseException, classes: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    if isinstance(error, classes):
        return True
    return isinstance(error, BaseExceptionGroup) and any(_any_is(each, classes) for each in error.exceptions)


def _all_are(error: BaseException, classes: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    if isinstance(error, classes):
        return True
    return isinstance(error, BaseExceptionGroup) and all(_all_are(each, classes) for each in error.exceptions)
