"""Writes contracts/spec_vectors.json: ``DJANGO_SETTINGS_MODULE=settings python -m
contract.generate_spec_vectors``."""

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

TARGET = Path(__file__).parents[2] / "contracts" / "spec_vectors.json"

MOMENT = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

ARGUMENTS = {
    "empty text": "",
    "latin and snowman": "žluťoučký kůň ☃",
    "beyond the basic plane": "🦀 𝔘 \U0010ffff",
    "combining, not normalised": "e\u0301 \u00e9",
    "quotes and backslashes": 'a"b\\c/d',
    "control characters": "\x00\x01\b\t\n\x0b\f\r\x1f\x7f\x80",
    "line separators": "\u2028\u2029\ufeff",
    "keys in code point order": {"b": 1, "a": 2, "ž": 3, "Z": 4, "": 5, "aa": 6, "🦀": 7, "\uffff": 8},
    "integers": [0, -1, 7, 2**31, -(2**31), 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**64)],
    "an integer of 300 digits": 10**300 + 1,
    "floats": [0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 1e-7, 1.5e-300, 123456789.125],
    "floats with exponents": [
        1e15,
        1e16,
        1e17,
        1e20,
        1e22,
        1e23,
        1.7976931348623157e308,
        5e-324,
        1e-5,
        0.0001,
    ],
    "literals": [None, True, False],
    "empty containers": [[], {}, [[]], [{}], {"a": {}}],
    "deep nesting": [[[[[[[[[[{"a": {"b": {"c": [1, [2, [3]]]}}}]]]]]]]]]],
    "tuples": ((1, 2), ()),
    "timedelta": timedelta(days=-1, seconds=86399, microseconds=999999),
    "datetime in UTC": MOMENT,
    "datetime with an offset": MOMENT.astimezone(timezone(timedelta(hours=5, minutes=45))),
    "datetime in a named zone": MOMENT.astimezone(ZoneInfo("Europe/Prague")),
    "naive datetime": MOMENT.replace(tzinfo=None, microsecond=0),
    "date": date(2030, 1, 2),
    "time": time(3, 4, 5, 678901),
    "uuid": UUID("123e4567-e89b-12d3-a456-426614174000"),
    "decimal": [Decimal("1.10"), Decimal("-1E+3"), Decimal("0.000000000000000000001")],
    "a user's dict with the marker": {"__reproq_type__": "model", "pk": "1"},
    "the marker, nested in itself": {"__reproq_type__": {"__reproq_type__": "dict", "value": {}}},
    "html": "</script><!-- & ' -->",
}

ENQUEUES = {
    "no arguments": {},
    "all keywords": {
        "priority": -7,
        "lock_key": "user:ž",
        "concurrency_key": "account:42",
        "concurrency_limit": 2,
        "run_after": MOMENT,
    },
    "run_after on the second": {"run_after": MOMENT.replace(microsecond=0)},
    "task kwargs": {"b": 1, "a": [MOMENT], "ž": None},
}


def vectors() -> list[dict[str, str]]:
    """The content of the file."""
    from myapp.tasks import arg_task, noop
    from reproq_django.conf import BackendOptions
    from reproq_django.spec import build
    from testapp.tasks import with_options

    plain = {"backend_alias": "default", "options": BackendOptions()}
    pinned = {
        "backend_alias": "default",
        "options": BackendOptions(code_ref="abc123", pip_lock_hash="deadbeef"),
    }
    found = {name: build(arg_task, [value], {}, **plain) for name, value in ARGUMENTS.items()}
    found |= {name: build(arg_task, [], kwargs, **plain) for name, kwargs in ENQUEUES.items()}
    found["provenance"] = build(noop, [1], {}, **pinned)
    found["options of the task, with a backoff policy"] = build(with_options, [], {}, **plain)
    return [
        {"name": name, "canonical": spec.spec_json, "sha256": spec.spec_hash} for name, spec in found.items()
    ]


if __name__ == "__main__":
    import django

    django.setup()
    TARGET.write_text(json.dumps(vectors(), ensure_ascii=True, indent=1) + "\n", encoding="utf-8")
