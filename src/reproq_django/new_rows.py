"""What the databases' INSERTs of runs have in common: what a run brings beside its spec, and the answer."""

from __future__ import annotations

from datetime import datetime
from operator import attrgetter
from typing import Any, Final, NamedTuple

from reproq_django.spec import RunSpec

COLUMNS: Final = (
    "backend_alias", "queue_name", "priority", "spec_hash", "task_path", "max_attempts", "timeout_seconds",
    "lock_key", "concurrency_key", "concurrency_limit", "dedup", "fairness_key", "rate_key",
    "rate_per_second", "rate_burst", "over_limit", "run_after", "expires_in",
    "result_id", "status", "workflow_id", "step", "after_step",
)  # fmt: skip
#: The values of ``COLUMNS``, of a spec.
values_of: Final = attrgetter(*COLUMNS)


class Inserted(NamedTuple):
    """A new row. ``enqueued_at`` is the database's clock, in the form that Django's DateTimeField has."""

    result_id: int
    enqueued_at: datetime


def columns_of(spec: RunSpec) -> dict[str, Any]:
    return dict(zip(COLUMNS, values_of(spec), strict=True))
