"""Going on while PostgreSQL is at work: psycopg's pipeline mode, for one statement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper


def execute_ahead(
    connection: BaseDatabaseWrapper,
    cursor: Any,
    statement: str,
    parameters: Mapping[str, Any],
    meanwhile: Callable[[], None],
) -> None:
    """Executes ``statement`` with ``cursor``, which is of ``connection``, and calls ``meanwhile``, which must
    not use the connection, when it is on its way.

    Raises what ``meanwhile`` raises, and what ``cursor.execute`` would; of both, the former. Either way the
    statement is over then. Without pipeline mode (psycopg 2, an old libpq) one comes after the other.
    """
    driver: Any = connection.connection
    if not _has_pipelines(driver):
        cursor.execute(statement, parameters)
        meanwhile()
        return
    from psycopg.generators import send

    with connection.wrap_database_errors, driver.pipeline() as pipeline:
        cursor.execute(statement, parameters)
        # What does not fit the socket's buffer would stay here until the end, and the server wait for it.
        driver.wait(send(driver.pgconn))
        meanwhile()
        # Not at the block's end, which would raise an error of its own in place of an interruption.
        pipeline.sync()


def _has_pipelines(driver: Any) -> bool:
    if not hasattr(driver, "pipeline"):
        return False
    from psycopg import Pipeline

    return Pipeline.is_supported()
