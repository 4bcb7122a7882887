"""Writes contracts/schedule_vectors.json: ``python tests/contract/generate_schedule_vectors.py``.

Rows of ``periodic_tasks``, a tick of each, and the spec of the run that the scheduler has to make of it. The
specs are written out here by hand, field by field, and not by the code that they test.
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parents[2] / "contracts" / "schedule_vectors.json"

ROW: dict[str, Any] = {
    "name": "nightly", "task_path": "myapp.tasks.noop", "payload_json": {}, "options_json": None,
    "queue_name": "default", "priority": 0, "max_attempts": 3, "concurrency_key": None,
    "concurrency_limit": 0, "overlap": "allow", "jitter_seconds": 0,
}  # fmt: skip
SPEC: dict[str, Any] = {
    "v": 1, "task_path": "myapp.tasks.noop", "args": [], "kwargs": {}, "takes_context": False,
    "queue_name": "default", "priority": 0, "lock_key": None, "concurrency_key": None, "concurrency_limit": 0,
    "run_after": None, "exec": {"timeout_seconds": 900, "max_attempts": 3},
    "provenance": {"code_ref": None, "pip_lock_hash": None}, "periodic_name": "nightly",
    "scheduled_at": "2030-01-02T03:04:00+00:00",
}  # fmt: skip
OPTIONS: dict[str, Any] = {
    "task_path": "myapp.tasks.noop", "payload": {}, "takes_context": True, "timeout_seconds": 60,
    "lock_key": "own", "concurrency_key": "c", "concurrency_limit": 2, "fairness_key": None, "rate_key": None,
    "rate_per_second": None, "rate_burst": None, "over_limit": 0, "expires_in_seconds": 3600.0,
    "backend_alias": "other", "code_ref": "v7", "pip_lock_hash": None, "args": [], "kwargs": {},
}  # fmt: skip
WITH_OPTIONS: dict[str, Any] = {
    "takes_context": True, "lock_key": "own", "concurrency_key": "c", "concurrency_limit": 2,
    "exec": {"timeout_seconds": 60, "max_attempts": 3},
    "provenance": {"code_ref": "v7", "pip_lock_hash": None},
}  # fmt: skip
TYPED = {"__reproq_type__": "timedelta", "days": 1, "seconds": 2, "microseconds": 0}
TEXT = {"žluť ☃": ['"\\/\u0007\u2028', 1, -7, 0.5, None, True, {"🦀": [], "\uffff": {}, "Z": "", "": 0}]}

#: Name, what the row says besides ROW, what the spec says besides SPEC.
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("nothing but a task", {}, {}),
    (
        "args and kwargs",
        {"payload_json": {"args": [1, "a"], "kwargs": {"b": 2}}},
        {"args": [1, "a"], "kwargs": {"b": 2}},
    ),
    ("args alone", {"payload_json": {"args": [[]]}}, {"args": [[]]}),
    ("a bare array", {"payload_json": [1, {"x": None}]}, {"args": [1, {"x": None}]}),
    ("a bare object", {"payload_json": {"b": 2, "a": 1}}, {"kwargs": {"a": 1, "b": 2}}),
    ("text of all kinds", {"payload_json": TEXT, "name": "žluť"}, {"kwargs": TEXT, "periodic_name": "žluť"}),
    (
        "columns of the row",
        {
            "queue_name": "reports",
            "priority": -5,
            "max_attempts": 9,
            "concurrency_key": "k",
            "concurrency_limit": 4,
        },
        {
            "queue_name": "reports",
            "priority": -5,
            "concurrency_key": "k",
            "concurrency_limit": 4,
            "exec": {"timeout_seconds": 900, "max_attempts": 9},
        },
    ),
    ("options of the task", {"options_json": OPTIONS}, WITH_OPTIONS),
    (
        "a key of the row before that of the options",
        {"options_json": OPTIONS, "concurrency_key": "k", "concurrency_limit": 7},
        {**WITH_OPTIONS, "concurrency_key": "k", "concurrency_limit": 7},
    ),
    (
        "a backoff of the task",
        {"options_json": {**OPTIONS, "backoff": {"base": 0.5, "jitter": False}}},
        {
            **WITH_OPTIONS,
            "exec": {"timeout_seconds": 60, "max_attempts": 3, "backoff": {"base": 0.5, "jitter": False}},
        },
    ),
    (
        "typed arguments",
        {
            "payload_json": {"args": ["1 day"]},
            "options_json": {
                **OPTIONS,
                "payload": {"args": ["1 day"]},
                "args": [TYPED],
                "kwargs": {"x": TYPED},
            },
        },
        {**WITH_OPTIONS, "args": [TYPED], "kwargs": {"x": TYPED}},
    ),
    ("options of another task", {"options_json": {**OPTIONS, "task_path": "myapp.tasks.other"}}, {}),
    ("options of another payload", {"options_json": OPTIONS, "payload_json": [3]}, {"args": [3]}),
    ("queue_one has a lock", {"overlap": "queue_one"}, {"lock_key": "schedule:nightly"}),
    ("cancel_previous too", {"overlap": "cancel_previous"}, {"lock_key": "schedule:nightly"}),
    ("a lock of its own comes before it", {"overlap": "queue_one", "options_json": OPTIONS}, WITH_OPTIONS),
    ("skip has no lock", {"overlap": "skip"}, {}),
]


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def vectors() -> list[dict[str, Any]]:
    found = []
    for name, row, spec in CASES:
        text = canonical({**SPEC, **spec})
        found.append(
            {
                "name": name,
                "schedule": {**ROW, **row},
                "scheduled_at": SPEC["scheduled_at"],
                "canonical": text,
                "sha256": sha256(text.encode()).hexdigest(),
            }
        )
    return found


if __name__ == "__main__":
    TARGET.write_text(json.dumps(vectors(), indent=1) + "\n", "utf-8")
