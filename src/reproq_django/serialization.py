"""Arguments to JSON and back.

JSON's own types pass as they are. Results of other runs (``references.RunResults``), timedeltas and model
instances travel as an object with the key ``__reproq_type__``; in ``typed`` mode (the default) so do the
values of ``_TYPED``, and come back as the same type. A dict of the user's that has this key is wrapped, so no
data can pose as a marker. In ``compat`` mode whatever else is not JSON takes the string form of Django's
encoder, as the earlier system stored it. The text is canonical: sorted keys, no spaces, non-ASCII kept, so
that equal specs have equal hashes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.apps import apps
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import router
from django.db.models import Model

from reproq_django.errors import InvalidSpec, UnsupportedArgument
from reproq_django.references import Reference, RunResults
from reproq_django.results_of_runs import ResultsOfRuns

MARKER: Final = "__reproq_type__"

# Python refuses to print larger integers (sys.set_int_max_str_digits).
_MAX_INT_BITS: Final = 14_000
_SMALL: Final = 2**63

#: Exact type -> (name of the marker, its value). Subclasses are found by isinstance, in this order: a
#: datetime is a date.
_TYPED: Final[Mapping[type, tuple[str, Callable[[Any], str]]]] = {
    datetime: ("datetime", datetime.isoformat),  # and its zone's name, see _typed
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    UUID: ("uuid", str),
    Decimal: ("decimal", str),
}
_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "uuid": UUID,
    "decimal": Decimal,
}

_C_ENCODER: Final = getattr(json.encoder, "c_make_encoder", None)
_CANONICAL: Final = DjangoJSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)
#: What ``_CANONICAL`` makes anew, of C, for each value, which takes longer than writing most values. Only
#: CPython has it.
_WRITE: Final = _C_ENCODER and _C_ENCODER(
    None, _CANONICAL.default, json.encoder.encode_basestring, None, ":", ",", True, False, False
)
#: What JSON gives back as it was given.
_PLAIN: Final = frozenset({type(None), bool, int, float, str})
_INERT: Final = _PLAIN | frozenset(_TYPED) | {timedelta, list, tuple, dict}


def canonical_json(value: Any) -> str:
    """Sorted keys, no spaces, non-ASCII kept. Raises ValueError for NaN and infinities."""
    if _WRITE is None:
        return _CANONICAL.encode(value)
    try:
        return "".join(_WRITE(value, 0))
    except RecursionError:
        # It tells what is deep from what is in itself.
        return _CANONICAL.encode(value)


def encode_all(args: Sequence[Any], *, typed: bool = True) -> list[Any]:
    """Positional arguments as plain JSON data, see ``encode``."""
    try:
        return [
            value if _is_plain(value) else encode(value, f"args[{index}]", typed=typed)
            for index, value in enumerate(args)
        ]
    except RecursionError:
        raise UnsupportedArgument("args are nested too deeply, or refer to themselves") from None


def encode_named(kwargs: Mapping[str, Any], *, typed: bool = True) -> dict[str, Any]:
    """Keyword arguments as plain JSON data, see ``encode``."""
    try:
        return {
            key: value if _is_plain(value) else encode(value, f"kwargs[{key!r}]", typed=typed)
            for key, value in kwargs.items()
        }
    except RecursionError:
        raise UnsupportedArgument("kwargs are nested too deeply, or refer to themselves") from None


def is_inert(values: Iterable[Any]) -> bool:
    """Whether ``encode`` of these values asks nobody: a model, or a lazy object, may go to the database."""
    if type(values) is dict:
        return is_inert(list(values)) and is_inert(list(values.values()))
    kinds = set(map(type, values))
    if kinds <= _PLAIN:
        return True
    nested = [value for value in values if isinstance(value, list | tuple | dict)]
    return kinds <= _INERT and all(map(is_inert, nested))


def _is_plain(value: Any) -> bool:
    """Whether ``encode`` would answer with the value itself, for most that are: it need not be named then."""
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    return (kind is int and -_SMALL < value < _SMALL) or value is None or kind is bool


def encode(value: Any, path: str, *, typed: bool = True) -> Any:
    """``value`` as plain JSON data. ``path`` names it in messages, e.g. ``args[0]``.

    Raises UnsupportedArgument, with the path of the innermost culprit, for whatever a run could not get back.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return _integer(int(value), path)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise UnsupportedArgument(
                f"{path} is {value}, which JSON has no number for; pass None or a string"
            )
        return float(value)
    if isinstance(value, list | tuple):
        return [encode(item, f"{path}[{index}]", typed=typed) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return _object(value, path, typed=typed)
    if isinstance(value, timedelta):
        return {
            MARKER: "timedelta",
            "days": value.days,
            "seconds": value.seconds,
            "microseconds": value.microseconds,
        }
    if isinstance(value, Model):
        return _model(value, path)
    if isinstance(value, RunResults):
        return {MARKER: "result", "ids": value.stored()}
    if isinstance(value, Reference):
        raise UnsupportedArgument(
            f"{path} is a result_of(), which means something only in a chain, group or chord"
        )
    return _typed(value, path) if typed else _string_form(value, path)


def decode(value: Any, path: str, *, using: str | None, results: ResultsOfRuns | None = None) -> Any:
    """The value that ``encode`` was given. Models and results of runs are fetched from the database
    ``using``; None leaves models as markers and results as RunResults. ``results`` has what is fetched
    for the arguments as a whole.

    Raises InvalidSpec for a marker that cannot be turned back; a database that is away raises its own error.
    """
    if isinstance(value, list):
        return [
            decode(item, f"{path}[{index}]", using=using, results=results) for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    if MARKER not in value:
        return _decode_items(value, path, using, results)
    kind = value[MARKER]
    try:
        if kind == "dict":
            return _decode_items(value["value"], path, using, results)
        if kind == "timedelta":
            return timedelta(value["days"], value["seconds"], value["microseconds"])
        if kind == "model":
            return value if using is None else _fetch(value, path, using)
        if kind == "result":
            wanted = RunResults.from_stored(value["ids"])
            if using is None:
                return wanted
            return (results or ResultsOfRuns(using, wanted.all_ids)).value(wanted.ids, path)
        if kind in _PARSERS:
            return _in_zone(_PARSERS[kind](value["value"]), value.get("zone"))
    except (ArithmeticError, AttributeError, KeyError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, InvalidSpec):
            raise
        raise InvalidSpec(f"{path} is no {kind}: {error}") from error
    raise InvalidSpec(f"{path} has the unknown type {kind!r}; was it enqueued by a newer version?")


def _decode_items(
    items: dict[str, Any], path: str, using: str | None, results: ResultsOfRuns | None
) -> dict[str, Any]:
    return {
        key: decode(item, f"{path}[{key!r}]", using=using, results=results) for key, item in items.items()
    }


def decode_arguments(spec: Mapping[str, Any], using: str | None) -> tuple[list[Any], dict[str, Any]]:
    """(args, kwargs) of a spec, ready for the task function. ``using`` is the database alias of its queue,
    None: see ``decode``.

    Raises InvalidSpec when they cannot be turned back; the run must not be retried then.
    """
    args, kwargs = spec.get("args"), spec.get("kwargs")
    args, kwargs = [] if args is None else args, {} if kwargs is None else kwargs
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise InvalidSpec("args must be a list and kwargs an object")
    if _PLAIN.issuperset(map(type, args)) and _PLAIN.issuperset(map(type, kwargs.values())):
        return args, kwargs
    results = None if using is None else ResultsOfRuns(using, lambda: _wanted([args, kwargs]))
    return (
        [decode(item, f"args[{index}]", using=using, results=results) for index, item in enumerate(args)],
        {key: decode(item, f"kwargs[{key!r}]", using=using, results=results) for key, item in kwargs.items()},
    )


def _wanted(value: Any) -> Iterator[int]:
    """The runs whose results encoded data wants."""
    if isinstance(value, list):
        for item in value:
            yield from _wanted(item)
    elif isinstance(value, dict):
        kind = value.get(MARKER)
        if kind == "result":
            yield from RunResults.from_stored(value["ids"]).all_ids()
        elif kind is None or kind == "dict":
            for item in (value if kind is None else value["value"]).values():
                yield from _wanted(item)


def _text(value: str, path: str) -> str:
    # A plain str, so that a subclass (SafeString, an enum member) cannot bring its own idea of JSON.
    text = value if type(value) is str else str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnsupportedArgument(
            f"{path} holds a lone surrogate, which is no valid text; decode the bytes with errors='replace'"
        ) from None
    return text


def _integer(value: int, path: str) -> int:
    if value.bit_length() > _MAX_INT_BITS:
        raise UnsupportedArgument(
            f"{path} is an integer of over 4,200 digits; pass it as a hexadecimal string"
        )
    return value


def _object(value: dict[Any, Any], path: str, *, typed: bool) -> dict[str, Any]:
    encoded = {}
    for key, item in value.items():
        if not isinstance(key, str):
            if typed:
                raise UnsupportedArgument(
                    f"{path} has the key {key!r} of type {type(key).__name__}; "
                    f"JSON keys are strings, so use str({key!r})"
                )
            # json.dumps' own coercion, and its refusal of anything else.
            key = next(iter(json.loads(_dumps({key: None}, path))))
        encoded[_text(key, f"the key {key!a} of {path}")] = encode(item, f"{path}[{key!r}]", typed=typed)
    return {MARKER: "dict", "value": encoded} if MARKER in encoded else encoded


def _model(value: Model, path: str) -> dict[str, Any]:
    if value.pk is None:
        raise UnsupportedArgument(
            f"{path} is an unsaved {value._meta.label}; save it first, so that the run can find it"
        )
    return {
        MARKER: "model",
        "app_label": value._meta.app_label,
        "model": value._meta.model_name,
        "pk": str(value.pk),
    }


def _fetch(marker: Mapping[str, Any], path: str, using: str) -> Model:
    model = apps.get_model(marker["app_label"], marker["model"])
    manager = model._default_manager
    # A queue may have a database of its own; then the site's routers know where the model lives.
    queryset = manager.using(using) if router.allow_migrate_model(using, model) else manager.all()
    try:
        found: Model = queryset.get(pk=marker["pk"])
    except (ObjectDoesNotExist, ValidationError) as error:
        raise InvalidSpec(
            f"{path}: there is no {model._meta.label} with primary key {marker['pk']!r} "
            f"in database {queryset.db!r} any more"
        ) from error
    return found


def _typed(value: Any, path: str) -> dict[str, Any]:
    for kind, (name, text) in _TYPED.items():
        if isinstance(value, kind):
            marker = {MARKER: name, "value": text(value)}
            zone = value.tzinfo if isinstance(value, datetime) else None
            if isinstance(zone, ZoneInfo) and zone.key:
                # The offset in the text fixes the moment; arithmetic across a clock change needs the zone.
                marker["zone"] = zone.key
            return marker
    raise UnsupportedArgument(
        f"{path} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored. "
        "Pass JSON values, a datetime, date, time, timedelta, UUID, Decimal or a model instance; "
        "for anything else pass what the task can rebuild it from"
    )


def _in_zone(value: Any, zone: str | None) -> Any:
    """The same moment in its own zone; with its bare offset where that zone is not known."""
    if zone is None:
        return value
    try:
        return value.astimezone(ZoneInfo(zone))
    except (LookupError, OSError, OverflowError, ValueError):
        return value


def _string_form(value: Any, path: str) -> Any:
    return json.loads(_dumps(value, path))


def _dumps(value: Any, path: str) -> str:
    try:
        return json.dumps(value, cls=DjangoJSONEncoder)
    except (TypeError, ValueError) as error:
        raise UnsupportedArgument(f"{path} cannot be stored: {error}") from error
