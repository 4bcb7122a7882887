"""Reproq: background tasks for Django on the database the site already has.

``from reproq_django import task`` is Django's ``task`` decorator with Reproq's per-task options (see
``definition.py``). It is resolved on first use, because Django imports this package before its apps are
ready.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reproq_django.definition import task

__all__ = ["__version__", "task"]

__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name == "task":
        from reproq_django.definition import task

        return task
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
