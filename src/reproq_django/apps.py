"""The Django app. ``ready()`` registers and does nothing else."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.db.models.signals import post_migrate


class ReproqConfig(AppConfig):
    """``INSTALLED_APPS = [..., "reproq_django"]``."""

    name = "reproq_django"
    label = "reproq_django"
    verbose_name = "Reproq"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks, and what ``migrate`` does besides: the schema and the declared schedules."""
        from reproq_django import checks
        from reproq_django.schema import upgrade_after_migrate
        from reproq_django.sync import sync_after_migrate

        register(checks.check_databases, "reproq")
        register(checks.check_schedules, "reproq")
        register(checks.check_schema, Tags.database)
        register(checks.check_stored_schedules, Tags.database)
        post_migrate.connect(upgrade_after_migrate, sender=self, dispatch_uid="reproq_django.schema")
        # After the schema: receivers are called in this order.
        post_migrate.connect(sync_after_migrate, sender=self, dispatch_uid="reproq_django.sync")
