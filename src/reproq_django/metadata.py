"""Notes that a run keeps about itself: one JSON object, replaced as a whole."""

from __future__ import annotations

import json
from typing import Any

from django.db.models.functions import Now
from django.tasks.exceptions import TaskResultDoesNotExist

from reproq_django.errors import ReproqError
from reproq_django.models import TaskRun
from reproq_django.status import RunStatus


class MetadataNotSaved(ReproqError):
    """The attempt is not the run's current one any more: it lost its lease, or the run has ended."""


def save_metadata(alias: str, result_id: int, metadata: dict[str, Any], *, epoch: int | None = None) -> None:
    """Replace the metadata of a run. ``epoch`` is the fence of a running task: its attempt must still be the
    current one.

    Raises TypeError for what is not JSON, TaskResultDoesNotExist without a fence, MetadataNotSaved with one.
    """
    plain = _plain(metadata)
    runs = TaskRun.objects.using(alias).filter(result_id=result_id)
    if epoch is not None:
        runs = runs.filter(epoch=epoch, status=RunStatus.RUNNING)
    if runs.update(metadata_json=plain, updated_at=Now()):
        return
    if epoch is None:
        raise TaskResultDoesNotExist(f"there is no run {result_id} in database {alias!r}")
    raise MetadataNotSaved(f"attempt {epoch} of run {result_id} is over")


def _plain(metadata: Any) -> dict[str, Any]:
    """What the database will give back; the same on both, or a site would find out in production."""
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata must be a dict, not {type(metadata).__name__}")
    try:
        plain: dict[str, Any] = json.loads(json.dumps(metadata, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(
            f"metadata cannot be stored as JSON: {error}; use plain strings, numbers, lists and dicts"
        ) from error
    if place := _unstorable(plain, "metadata"):
        raise TypeError(
            f"{place} holds a null character or a lone surrogate, which PostgreSQL's JSON cannot store"
        )
    return plain


def _unstorable(value: Any, place: str) -> str | None:
    """The place of the first text that PostgreSQL refuses."""
    if isinstance(value, str):
        return place if "\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value) else None
    if isinstance(value, dict):
        found = (
            _unstorable(key, f"a key of {place}") or _unstorable(item, f"{place}[{key!a}]")
            for key, item in value.items()
        )
    elif isinstance(value, list):
        found = (_unstorable(item, f"{place}[{index}]") for index, item in enumerate(value))
    else:
        return None
    return next(filter(None, found), None)
