"""The spec of a scheduled run, as the Rust tests make it from the same vectors: that of an enqueue with the
same arguments and options, and two keys that say where it comes from."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from myapp.tasks import noop
from reproq_django.conf import BackendOptions
from reproq_django.models import PeriodicTask
from reproq_django.schedules import arguments_of, options_of
from reproq_django.serialization import canonical_json
from reproq_django.spec import build
from reproq_django.status import Overlap

VECTORS = json.loads((Path(__file__).parents[2] / "contracts" / "schedule_vectors.json").read_text("utf-8"))
#: What a vector says besides the columns of the row.
EXTRA = {"scheduled_at", "canonical", "sha256", "name", "schedule"}


def row_of(vector: dict[str, Any]) -> PeriodicTask:
    return PeriodicTask(**vector["schedule"])


def options_in(row: PeriodicTask) -> dict[str, Any]:
    """Those of the row, if they are about what it calls."""
    options = row.options_json or {}
    is_current = options.get("task_path") == row.task_path and options.get("payload") == row.payload_json
    return options if is_current else {}


def expected(row: PeriodicTask, scheduled_at: str) -> str:
    """Python's text of the run: an enqueue, and what the row and its options say."""
    options = options_in(row)
    args, kwargs = arguments_of(row)
    defaults = BackendOptions(code_ref=options.get("code_ref"), pip_lock_hash=options.get("pip_lock_hash"))
    spec = json.loads(build(noop, args, kwargs, backend_alias="default", options=defaults).spec_json)
    locks = row.overlap in (Overlap.QUEUE_ONE, Overlap.CANCEL_PREVIOUS)
    spec |= {
        "task_path": row.task_path,
        "args": options.get("args", spec["args"]),
        "kwargs": options.get("kwargs", spec["kwargs"]),
        "queue_name": row.queue_name,
        "priority": row.priority,
        "takes_context": options.get("takes_context", False),
        "lock_key": options.get("lock_key") or (f"schedule:{row.name}" if locks else None),
        "periodic_name": row.name,
        "scheduled_at": scheduled_at,
    }
    if row.concurrency_key:
        spec |= {"concurrency_key": row.concurrency_key, "concurrency_limit": row.concurrency_limit}
    else:
        spec |= {
            "concurrency_key": options.get("concurrency_key"),
            "concurrency_limit": options.get("concurrency_limit", 0),
        }
    spec["exec"] = {
        "timeout_seconds": options.get("timeout_seconds", 900),
        "max_attempts": row.max_attempts,
        **({"backoff": options["backoff"]} if options.get("backoff") else {}),
    }
    return canonical_json(spec)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_text_is_pythons(vector: dict[str, Any]) -> None:
    assert vector.keys() == EXTRA
    assert expected(row_of(vector), vector["scheduled_at"]) == vector["canonical"]
    assert sha256(vector["canonical"].encode()).hexdigest() == vector["sha256"]


def test_what_python_writes_down_has_the_names_that_the_vectors_have() -> None:
    known = {key for vector in VECTORS for key in vector["schedule"]["options_json"] or {}}
    row = PeriodicTask(name="a", task_path="myapp.tasks.noop", payload_json={})
    assert known <= options_of(row).keys() | {"backoff"}
