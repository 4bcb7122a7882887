"""Going on while PostgreSQL is at work: psycopg's pipeline mode, for one statement."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Mapping
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

#: How long the server may take to be told.
CANCEL_SECONDS = 5


def execute_ahead(
    connection: BaseDatabaseWrapper,
    cursor: Any,
    statement: str,
    parameters: Mapping[str, Any],
    meanwhile: Callable[[], None],
) -> None:
    """Executes ``statement`` with ``cursor``, which is of ``connection``, and calls ``meanwhile``, which must
    not use the connection, when it is on its way.

    Raises what ``meanwhile`` raises, and what ``cursor.execute`` would; of both, the former, and the
    statement is cancelled. Either way it is over then. Without pipeline mode (psycopg 2, an old libpq) one
    comes after the other; so it does under ``execute_wrapper``, which may add statements or look for errors.
    What times statements (``DEBUG``) sees how long the sending of this one took.
    """
    driver: Any = connection.connection
    if connection.execute_wrappers or not _has_pipelines(driver):
        cursor.execute(statement, parameters)
        meanwhile()
        return
    with connection.wrap_database_errors, driver.pipeline() as pipeline:
        cursor.execute(statement, parameters)
        try:
            # What does not fit the socket's buffer would stay here until the end, and the server wait for it.
            _send_all(driver)
            meanwhile()
        except BaseException:
            # A task that is to stop must not wait for a row that somebody else holds.
            _cancel(driver)
            raise
        # Not at the block's end, which would raise an error of its own in place of an interruption.
        pipeline.sync()


def _send_all(driver: Any) -> None:
    """Has libpq send what it keeps, as its documentation wants it of a connection that does not block."""
    with selectors.DefaultSelector() as selector:
        selector.register(driver.fileno(), selectors.EVENT_READ | selectors.EVENT_WRITE)
        while driver.pgconn.flush() == 1:
            # A server that cannot get rid of its answers would not read either.
            if any(events & selectors.EVENT_READ for _, events in selector.select()):
                driver.pgconn.consume_input()


def _cancel(driver: Any) -> None:
    if hasattr(driver, "cancel_safe"):
        driver.cancel_safe(timeout=CANCEL_SECONDS)
    else:
        driver.cancel()


def _has_pipelines(driver: Any) -> bool:
    if not hasattr(driver, "pipeline"):
        return False
    from psycopg import Pipeline

    return Pipeline.is_supported()
