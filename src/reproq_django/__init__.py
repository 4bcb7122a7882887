"""Reproq: background tasks for Django on the database the site already has.

``from reproq_django import task`` is Django's ``task`` decorator with Reproq's per-task options (see
``definition.py``); ``Snooze``, ``Retry``, ``Discard`` and ``Cancel`` are what a task raises to decide what
becomes of its run, ``SoftTimeout`` and ``TaskCancelled`` what is raised in it (see ``errors.py``). They are
resolved on first use, because Django imports this package before its apps are ready.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reproq_django.definition import task
    from reproq_django.errors import Cancel, Discard, Retry, Snooze, SoftTimeout, TaskCancelled

__all__ = [
    "Cancel",
    "Discard",
    "Retry",
    "Snooze",
    "SoftTimeout",
    "TaskCancelled",
    "__version__",
    "task",
]

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name == "task":
        from reproq_django.definition import task

        return task
    if name in __all__:
        from reproq_django import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
