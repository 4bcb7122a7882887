"""Brings a database to this version's schema: fresh, older, or made by the earlier system.

The schema itself is ``sql/<vendor>/*.sql``, run in name order in one transaction. Each file may run any
number of times. Callers: the migration ``0001_baseline``, ``post_migrate`` (a site whose
``django_migrations`` already knows a ``0001_baseline`` would otherwise never be upgraded), and ``manage.py
reproq migrate-worker``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

from django.apps import AppConfig
from django.db import connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from reproq_django.errors import SchemaError

_SQL: Final = files("reproq_django") / "sql"
_FOLDERS: Final = {"postgresql": "postgres", "sqlite": "sqlite"}

SCHEMA_VERSION: Final = (_SQL / "schema_version").read_text("utf-8").strip()
BASELINE: Final = ("reproq_django", "0001_baseline")


def installed_version(connection: BaseDatabaseWrapper) -> str | None:
    """The schema version of a database; None when Reproq's tables are missing or of the earlier system."""
    with connection.cursor() as cursor:
        # Asking first: a failed SELECT would break the caller's transaction.
        if "reproq_meta" not in connection.introspection.table_names(cursor):
            return None
        cursor.execute("SELECT value FROM reproq_meta WHERE key = 'schema_version'")
        row = cursor.fetchone()
    return row[0] if row else None


def is_installed(connection: BaseDatabaseWrapper) -> bool:
    """Whether the database has runs at all, of any version."""
    with connection.cursor() as cursor:
        return "task_runs" in connection.introspection.table_names(cursor)


def is_current(connection: BaseDatabaseWrapper) -> bool:
    """Whether the database has exactly this version's schema."""
    return installed_version(connection) == SCHEMA_VERSION


def apply_schema(connection: BaseDatabaseWrapper) -> None:
    """Create or upgrade everything; changes nothing where nothing is missing.

    Raises SchemaError for a database that is neither PostgreSQL nor SQLite, or newer than this package.
    """
    if connection.vendor not in _FOLDERS:
        raise SchemaError(
            f"Reproq cannot keep runs in a {connection.display_name} database; use PostgreSQL or SQLite"
        )
    version = installed_version(connection)
    if version is not None and version.isdigit() and int(version) > int(SCHEMA_VERSION):
        raise SchemaError(
            f"the database has schema {version}, this package knows {SCHEMA_VERSION}: "
            "install the newer reproq-django"
        )
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Two `migrate` at once: the second waits and then finds everything there.
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext('reproq_schema'))")
            for _, text in schema_files(connection.vendor):
                cursor.execute(text)
        else:
            # Here: without SQLite a site needs none of its library, and each fork would copy its mappings.
            from reproq_django import schema_sqlite

            schema_sqlite.apply(cursor, dict(schema_files(connection.vendor)))


def drop_schema(connection: BaseDatabaseWrapper) -> None:
    """Undo ``apply_schema``: ``migrate reproq_django zero``. Every run is lost."""
    views = ["diverted_tasks", "paused_tasks", "paused_queues", "limited_queues", "lanes"]
    tables = [
        "task_runs",
        "periodic_tasks",
        "reproq_workers",
        "reproq_queue_controls",
        "rate_limits",
        "workflow_runs",
        "reproq_task_controls",
        "reproq_key_limits",
        "reproq_attempt_logs",
        "reproq_workflow_steps",
        "reproq_workflow_events",
        "periodic_runs",
        "reproq_meta",
    ]
    with connection.cursor() as cursor:
        for view in views:
            cursor.execute(f"DROP VIEW IF EXISTS reproq_{view}")
        for table in tables:
            cursor.execute(f"DROP TABLE IF EXISTS {table}")
        if connection.vendor == "postgresql":
            cursor.execute(
                "DROP FUNCTION IF EXISTS reproq_assign_lane, reproq_claim_key, reproq_open_gate,"
                " reproq_visit_key, reproq_short, reproq_state_limits, reproq_take_over_tokens,"
                " reproq_take_over_pace, reproq_drop_logs, reproq_note_workflow_event,"
                " reproq_rebase_schedule, reproq_tell_schedulers, reproq_insert_runs, reproq_claim_key_of"
            )
            cursor.execute("DROP TYPE IF EXISTS reproq_new_run")


def schema_files(vendor: str) -> Iterator[tuple[str, str]]:
    """(file name, SQL) in the order in which they run. ``vendor`` is Django's."""
    for entry in sorted((_SQL / _FOLDERS[vendor]).iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".sql"):
            yield entry.name, entry.read_text("utf-8").replace("{schema_version}", SCHEMA_VERSION)


def upgrade_after_migrate(sender: AppConfig, using: str, **kwargs: Any) -> None:
    """``post_migrate`` receiver: the upgrade of a database for which ``migrate`` had nothing to do."""
    connection = connections[using]
    if connection.vendor not in _FOLDERS or not router.allow_migrate(using, sender.label):
        return
    # A site may switch migrations off (tests do): then Django has made the tables from the models.
    without_migrations = MigrationLoader.migrations_module(sender.label)[0] is None
    # Not after `migrate reproq_django zero`, nor before the baseline has had its turn.
    has_baseline = without_migrations or BASELINE in MigrationRecorder(connection).applied_migrations()
    if has_baseline and not is_current(connection):
        apply_schema(connection)
