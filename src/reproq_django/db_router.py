"""The database router for sites whose queues live in a database of their own.

``DATABASE_ROUTERS = ["reproq_django.db_router.ReproqRouter"]`` keeps Reproq's tables out of every other
database and sends the admin's queries to the default queue database. Queries that name a database (all of
Reproq's own do) are not affected.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from reproq_django.db import default_alias, queue_aliases

APP_LABEL = "reproq_django"


class ReproqRouter:
    """Answers for models of ``reproq_django`` only; None leaves the question to the next router."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """The database of the instance at hand, else the default queue database."""
        if model._meta.app_label != APP_LABEL:
            return None
        instance = hints.get("instance")
        known = instance._state.db if isinstance(instance, Model) else None
        return known if known in queue_aliases() else default_alias()

    db_for_write = db_for_read

    def allow_relation(self, obj1: Model, obj2: Model, **hints: Any) -> bool | None:
        """Runs relate to runs of the same database only."""
        labels = {obj1._meta.app_label, obj2._meta.app_label}
        return obj1._state.db == obj2._state.db if labels == {APP_LABEL} else None

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Reproq's tables exist in the queue databases and nowhere else."""
        return db in queue_aliases() if app_label == APP_LABEL else None
