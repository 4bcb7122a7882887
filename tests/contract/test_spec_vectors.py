"""The canonical text and its hash, against vectors that the Rust tests read as well."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from myapp.tasks import arg_task, noop
from reproq_django.conf import BackendOptions
from reproq_django.serialization import canonical_json
from reproq_django.spec import build, spec_hash

CONTRACTS = Path(__file__).parents[2] / "contracts"
VECTORS = json.loads((CONTRACTS / "spec_vectors.json").read_text("utf-8"))
EARLIER_SYSTEM = json.loads((CONTRACTS / "spec_hash_upstream.json").read_text("utf-8"))

# What the "args" and "kwargs" texts of spec_hash_upstream.json stand for.
CALLS = {
    "[1]": ([1], {}),
    "[Decimal('1.10')]": ([Decimal("1.10")], {}),
    "[]": ([], {"x": timedelta(days=1, seconds=2)}),
    "[auth.User(pk=5)]": ([User(pk=5)], {}),
    "[{'b': 'žluť ☃', 'a': [1.0, 1e20, True, None]}]": ([{"b": "žluť ☃", "a": [1.0, 1e20, True, None]}], {}),
}


def test_shared_vector_of_the_earlier_system():
    text = (CONTRACTS / "spec_hash.json").read_text("utf-8")
    assert canonical_json(json.loads(text)) == text
    assert spec_hash(text) == (CONTRACTS / "spec_hash.sha256").read_text().strip()


@pytest.mark.parametrize("vector", EARLIER_SYSTEM, ids=lambda vector: vector["args"])
def test_enqueue_has_the_hash_of_the_earlier_system(vector):
    args, kwargs = CALLS[vector["args"]]
    options = dict(vector.get("enqueue", {}))
    if "run_after" in options:
        options["run_after"] = datetime.fromisoformat(options["run_after"])
    task = {"myapp.tasks.noop": noop, "myapp.tasks.arg_task": arg_task}[vector["task"]]
    mode = "compat" if "Decimal" in vector["args"] else "typed"
    spec = build(
        task, args, {**kwargs, **options}, backend_alias="default", options=BackendOptions(arguments=mode)
    )
    assert spec.spec_hash == vector["hash"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_canonical_text_is_a_fixed_point(vector):
    assert canonical_json(json.loads(vector["canonical"])) == vector["canonical"]
    assert sha256(vector["canonical"].encode()).hexdigest() == vector["sha256"]


def test_vectors_are_what_generate_makes():
    """Run tests/contract/generate_spec_vectors.py after a change of the format."""
    from contract.generate_spec_vectors import vectors

    assert vectors() == VECTORS
