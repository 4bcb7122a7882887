import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import given
from hypothesis import strategies as st

from reproq_django import serialization
from reproq_django.errors import InvalidSpec, UnsupportedArgument
from reproq_django.serialization import MARKER, canonical_json, decode, decode_arguments, encode

text = st.text(st.characters(codec="utf-8"))
keys = text | st.just(MARKER)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
    | st.dates()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC) | st.just(timezone(timedelta(hours=-3, minutes=-30))))
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=20)


@given(values)
def test_what_goes_in_comes_out(value):
    stored = canonical_json(encode(value, "args[0]"))
    assert decode(json.loads(stored), "args[0]", using=None) == value


@pytest.mark.parametrize(
    "value",
    [
        datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        datetime(2030, 1, 2),  # noqa: DTZ001
        date(2030, 1, 2),
        time(3, 4, 5, 6),
        timedelta(days=-2, microseconds=1),
        uuid4(),
        Decimal("1.10"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_types_come_back(value):
    back = decode(encode({"x": [value]}, "a"), "a", using=None)["x"][0]
    assert (type(back), str(back)) == (type(value), str(value))


def test_a_datetime_keeps_its_zone():
    prague = datetime(2030, 3, 30, 12, tzinfo=ZoneInfo("Europe/Prague"))
    marker = encode(prague, "a")
    back = decode(marker, "a", using=None)
    assert back == prague
    assert back + timedelta(days=1) == datetime(2030, 3, 31, 12, tzinfo=ZoneInfo("Europe/Prague"))
    unknown = decode({**marker, "zone": "Europe/Atlantis"}, "a", using=None)
    assert (unknown, unknown.utcoffset()) == (prague, timedelta(hours=1))
    assert decode({MARKER: "datetime", "value": marker["value"]}, "a", using=None) == prague


def test_tuples_become_lists_and_subclasses_of_str_become_str():
    encoded = encode((1, (mark_safe("<b>"),)), "a")
    assert encoded == [1, ["<b>"]]
    assert type(encoded[1][0]) is str


@pytest.mark.parametrize(
    "posing",
    [
        {MARKER: "model", "app_label": "auth", "model": "user", "pk": "1"},
        {MARKER: "dict", "value": {}},
        {MARKER: {MARKER: "uuid", "value": "x"}},
        {"deep": [{MARKER: None, "other": 1}]},
    ],
)
def test_data_cannot_pose_as_a_marker(posing):
    for typed in (True, False):
        assert decode(encode(posing, "a", typed=typed), "a", using="default") == posing


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": [0, Point(1)]}, r"args\[0\]\['x'\]\[1\] is a unit\.test_serialization\.Point"),
        ({"x": float("nan")}, r"args\[0\]\['x'\] is nan"),
        ([float("-inf")], r"args\[0\]\[0\] is -inf"),
        ({"x": {1: 2}}, r"args\[0\]\['x'\] has the key 1 of type int"),
        (["\ud800"], r"args\[0\]\[0\] holds a lone surrogate"),
        ({"\udfff": 1}, r"the key '\\udfff' of args\[0\] holds a lone surrogate"),
        (10**5000, r"args\[0\] is an integer of over"),
        (b"bytes", r"args\[0\] is a builtins\.bytes"),
        ({1, 2}, r"args\[0\] is a builtins\.set"),
        (gettext_lazy("later"), r"args\[0\] is a "),
        ([User()], r"args\[0\]\[0\] is an unsaved auth\.User"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_refusals_name_the_path(value, message):
    with pytest.raises(UnsupportedArgument, match=message):
        encode(value, "args[0]")


def test_compat_keeps_string_forms():
    moment = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    identity = UUID(int=5)
    value = [Decimal("1.10"), identity, moment, date(2030, 1, 2), {1: "a", None: "b"}]
    assert encode(value, "a", typed=False) == [
        "1.10",
        str(identity),
        "2030-01-02T03:04:05.678Z",
        "2030-01-02",
        {"1": "a", "null": "b"},
    ]
    assert encode(timedelta(seconds=1), "a", typed=False)[MARKER] == "timedelta"


@pytest.mark.parametrize(
    "broken",
    [
        {MARKER: "uuid", "value": "no"},
        {MARKER: "decimal", "value": "no"},
        {MARKER: "datetime", "value": 7},
        {MARKER: "date"},
        {MARKER: "timedelta", "days": "x"},
        {MARKER: "dict", "value": 3},
        {MARKER: "model", "app_label": "nowhere", "model": "x", "pk": "1"},
        {MARKER: "from the future", "value": 1},
        {MARKER: ["unhashable"]},
    ],
    ids=str,
)
def test_broken_markers_are_an_invalid_spec(broken):
    with pytest.raises(InvalidSpec, match=r"kwargs\['a'\]\[0\]"):
        decode_arguments({"args": [], "kwargs": {"a": [broken]}}, "default")


@pytest.mark.parametrize("spec", [{"args": {}, "kwargs": {}}, {"args": [], "kwargs": []}, {"args": "x"}])
def test_arguments_of_the_wrong_shape_are_an_invalid_spec(spec):
    with pytest.raises(InvalidSpec):
        decode_arguments(spec, "default")


@pytest.mark.django_db(databases=["default", "postgres"])
def test_models_come_back_from_the_database_of_the_queue(alias):
    user = User.objects.using(alias).create(username="ada")
    stored = encode([user], "args")
    back = decode(stored, "args", using=alias)[0]
    assert back == user
    assert back._state.db == alias
    assert decode(stored, "args", using=None) == stored
    user.delete()
    with pytest.raises(InvalidSpec, match=r"no auth\.User with primary key"):
        decode(stored, "args", using=alias)


@pytest.mark.parametrize(
    "value",
    [
        None,
        '\u00fc\u2028"\\\x7f',
        [],
        {},
        {"b": [1, -2.5, 1e100, True, None], "a": {"\u00e9": "x", "": []}},
        {"10": 1, "9": 2},
        [datetime(2030, 1, 1, tzinfo=UTC), Decimal("1.50"), UUID(int=5), timedelta(days=1)],
        (1, [2, (3,)]),
    ],
)
def test_canonical_json_is_what_djangos_encoder_writes(value, monkeypatch):
    written = canonical_json(value)
    monkeypatch.setattr(serialization, "_WRITE", None)
    assert written == canonical_json(value)


def deep():
    value = []
    for _ in range(200_000):
        value = [value]
    return value


def in_itself():
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (float("nan"), ValueError, "not JSON compliant"),
        ([float("-inf")], ValueError, "not JSON compliant"),
        ([object()], TypeError, "not JSON serializable"),
        (deep(), RecursionError, "recursion"),
        (in_itself(), ValueError, "Circular reference"),
    ],
    ids=["nan", "infinity", "object", "deep", "in itself"],
)
def test_what_canonical_json_refuses(value, error, words):
    for _ in range(2):
        with pytest.raises(error, match=words):
            canonical_json(value)
    assert canonical_json([1]) == "[1]"
