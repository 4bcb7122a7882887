"""Cancelling runs. ``sql/*/statements/cancel_runs.sql`` decides; the binary runs the same statement."""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import StrEnum

from django.db import connections, transaction

from reproq_django.statements import statement
from reproq_django.status import RunStatus


class Cancellation(StrEnum):
    """What became of a wish to cancel."""

    #: The run is CANCELLED: it will not run.
    CANCELLED = "cancelled"
    #: The run is RUNNING and its worker is asked to stop it: it ends as CANCELLED, unless it ends by itself
    #: before.
    REQUESTED = "requested"
    #: The run had ended as SUCCESSFUL or FAILED before.
    ENDED = "ended"


def cancel_runs(alias: str, result_ids: Iterable[int]) -> dict[int, Cancellation]:
    """Cancel runs of the database ``alias``; what became of each run that exists.

    Takes part in the caller's transaction if there is one: nothing is cancelled, and no worker told, before
    it commits. Waits for a run whose end is being written. Raises only what the database raises.
    """
    ids = sorted(set(result_ids))
    connection = connections[alias]
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(statement(connection.vendor, "cancel_runs"), {"result_ids": ids})
            return {result_id: _outcome(after) for result_id, _, after, _ in cursor.fetchall()}
    given = {"result_ids": json.dumps(ids)}
    with transaction.atomic(using=alias, savepoint=False), connection.cursor() as cursor:
        # The write comes first and takes the write lock, so that what is read then is of the same moment.
        cursor.execute(statement(connection.vendor, "cancel_runs"), given)
        cursor.fetchall()
        cursor.execute(statement(connection.vendor, "run_states"), given)
        return {result_id: _outcome(after) for result_id, _, after in cursor.fetchall()}


def _outcome(status: str) -> Cancellation:
    match status:
        case RunStatus.CANCELLED:
            return Cancellation.CANCELLED
        case RunStatus.RUNNING:
            return Cancellation.REQUESTED
        case _:
            return Cancellation.ENDED
