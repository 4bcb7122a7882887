"""Notes that a run keeps about itself: one JSON object, replaced as a whole."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.models.functions import Now
from django.tasks.exceptions import TaskResultDoesNotExist

from reproq_django.errors import ReproqError
from reproq_django.models import TaskRun
from reproq_django.serialization import canonical_json, encode
from reproq_django.status import RunStatus


class MetadataNotSaved(ReproqError):
    """The attempt is not the run's current one any more: it lost its lease, or the run has ended."""


def save_metadata(alias: str, result_id: int, metadata: dict[str, Any], *, epoch: int | None = None) -> None:
    """Replace the metadata of a run. ``epoch`` is the fence of a running task: its attempt must still be the
    current one.

    Raises TypeError for what is not JSON, TaskResultDoesNotExist without a fence, MetadataNotSaved with one.
    """
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata must be a dict, not {type(metadata).__name__}")
    plain = encode(metadata, "metadata")
    if connections[alias].vendor == "postgresql" and r"\u0000" in canonical_json(plain):
        raise TypeError("metadata holds a null character, which PostgreSQL's jsonb cannot store")
    runs = TaskRun.objects.using(alias).filter(result_id=result_id)
    if epoch is not None:
        runs = runs.filter(epoch=epoch, status=RunStatus.RUNNING)
    if runs.update(metadata_json=plain, updated_at=Now()):
        return
    if epoch is None:
        raise TaskResultDoesNotExist(f"there is no run {result_id} in database {alias!r}")
    raise MetadataNotSaved(f"attempt {epoch} of run {result_id} is over")
