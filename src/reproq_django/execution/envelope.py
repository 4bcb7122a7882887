"""The envelope: how one attempt ended, as strict ASCII JSON text (``contracts/executor.md``)."""

from __future__ import annotations

import json
import math
import os
import traceback
from types import TracebackType
from typing import Any

from reproq_django.errors import InvalidResult

APP_ERROR = "app_error"
INVALID_SPEC = "invalid_spec"
INVALID_RESULT = "invalid_result"
SECURITY_VIOLATION = "security_violation"
CANCELLED = "cancelled"
GIVEN_UP = "given_up"
SNOOZED = "snoozed"
TIMEOUT = "timeout"
MEMORY_LIMIT = "memory_limit"

MAX_RETURN_BYTES = 16 * 1024 * 1024
MAX_MESSAGE_BYTES = 8 * 1024
MAX_TRACEBACK_BYTES = 64 * 1024

_encoder = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_own_folder = os.path.dirname(__file__) + os.sep


def encode(value: Any) -> str:
    """Encode a return value.

    What Django's own backends take is taken here: mappings, sequences, UTF-8 bytes.

    Raises:
        InvalidResult: it is no JSON or too large; the message says where and what to do.
    """
    if value is None:
        return "null"
    try:
        text = _encode(value)
    except RecursionError as error:
        raise InvalidResult(
            "the return value is nested too deeply to be stored; return less, or a key to it"
        ) from error
    except (TypeError, ValueError) as error:
        if str(error) == "Circular reference detected":
            raise InvalidResult("the return value contains itself; return plain data") from error
        foreign = _first_foreign(value, "return value")
        if foreign is None:
            raise InvalidResult(f"the task's return value cannot be written as JSON: {error}") from error
        raise InvalidResult(
            f"the task's {foreign[0]} is {foreign[1]}, which is not JSON; "
            "return None, or plain strings, numbers, lists and dicts"
        ) from error
    if len(text) > MAX_RETURN_BYTES:
        raise InvalidResult(
            f"the return value takes {len(text)} bytes as JSON, {MAX_RETURN_BYTES} are allowed; "
            "store it elsewhere and return a key to it"
        )
    return text


def _encode(value: Any) -> str:
    # The encoder makes itself anew for each value. Most that tasks return are plain.
    if type(value) is int:
        return int.__repr__(value)
    try:
        return _encoder.encode(value)
    except TypeError:
        # Imported here, in the rare case: an envelope must be possible where Django cannot be imported.
        from django.utils.json import normalize_json

        return _encoder.encode(normalize_json(value))


def _first_foreign(value: Any, place: str) -> tuple[str, str] | None:
    """Find what JSON cannot hold: its place in words and what it is."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int | float | None):
                return f"{place} (a key of a dict)", f"of type {type(key).__qualname__}"
            found = _first_foreign(item, f"{place}[{key!r}]")
            if found:
                return found
        return None
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            found = _first_foreign(item, f"{place}[{index}]")
            if found:
                return found
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return place, repr(value)
    if value is None or isinstance(value, str | int | float):
        return None
    return place, f"of type {type(value).__module__}.{type(value).__qualname__}"


def succeeded(text: str, *, metadata: dict[str, Any] | None = None) -> str:
    """The envelope of a task that returned ``text`` (encoded)."""
    if metadata is None:
        return f'{{"ok":true,"return":{text}}}'
    return f'{{"ok":true,"return":{text},"metadata":{_storable(metadata)}}}'


def failed(
    error: BaseException,
    *,
    kind: str = APP_ERROR,
    retry_in: float | None = None,
    metadata: dict[str, Any] | None = None,
) -> str:
    """The envelope of a task that raised ``error``.

    Args:
        kind: what the error means for the run.
        retry_in: seconds until the next attempt, if the task itself says so.
    """
    return _failure(kind, error, retry_in=retry_in, metadata=metadata, with_traceback=kind != SNOOZED)


def refused(kind: str, error: BaseException, *, metadata: dict[str, Any] | None = None) -> str:
    """The envelope of an attempt that another attempt would not mend: ``kind`` says why."""
    cause = error.__cause__ if kind != SECURITY_VIOLATION else None
    return _failure(kind, error, retry_in=None, metadata=metadata, with_traceback=cause is not None)


def _failure(
    kind: str,
    error: BaseException,
    *,
    retry_in: float | None,
    metadata: dict[str, Any] | None,
    with_traceback: bool,
) -> str:
    fields: dict[str, Any] = {
        "ok": False,
        "exception_class": class_path(error),
        "message": shorten(message_of(error), MAX_MESSAGE_BYTES),
        "kind": kind,
    }
    if with_traceback:
        fields["traceback"] = shorten(traceback_of(error), MAX_TRACEBACK_BYTES)
    if retry_in is not None:
        fields["retry_in"] = retry_in
    text = _encoder.encode(fields)
    if metadata is None:
        return text
    return f'{text[:-1]},"metadata":{_storable(metadata)}}}'


def with_usage(text: str, usage: str | None) -> str:
    """The envelope ``text`` with what the attempt has used, JSON text as well."""
    return text if usage is None else f'{text[:-1]},"usage":{usage}}}'


def class_path(error: BaseException) -> str:
    """The dotted path of the exception's class."""
    module, name = type(error).__module__, type(error).__qualname__
    # A class may say anything of its module, even what is no text.
    return clean(f"{module}.{name}" if isinstance(module, str) else name)


def message_of(error: BaseException) -> str:
    """``str(error)``, whatever that does."""
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001 - __str__ is the task's code and may raise anything
        return f"<{type(error).__qualname__} whose text cannot be made: {type(broken).__qualname__}>"


def traceback_of(error: BaseException) -> str:
    """The traceback without the executor's own frames at its top."""
    try:
        formatted = traceback.TracebackException(
            type(error), error, _below_us(error.__traceback__), compact=True
        )
        return "".join(formatted.format())
    except BaseException as broken:  # noqa: BLE001 - repr and attributes of the error are the task's code
        return f"<no traceback: formatting it raised {type(broken).__qualname__}>"


def _below_us(trace: TracebackType | None) -> TracebackType | None:
    first = trace
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_own_folder):
        first = first.tb_next
    return first


def shorten(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` bytes of UTF-8: its head and its tail, where the causes stand."""
    text = clean(text)
    data = text.encode()
    if len(data) <= limit:
        return text
    note = f"\n[... {len(data) - limit} bytes left out ...]\n"
    half = (limit - len(note)) // 2
    return data[:half].decode(errors="ignore") + note + data[-half:].decode(errors="ignore")


def clean(text: str) -> str:
    """``text`` without what PostgreSQL cannot store: NUL and lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _storable(metadata: dict[str, Any]) -> str:
    """Metadata as JSON text; what cannot be stored is replaced, or it would undo the task's own end."""
    try:
        text = json.dumps(metadata, allow_nan=False, default=repr, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        text = json.dumps({"reproq_unstorable": message_of(error)})
    if "\\u0000" in text or "\\ud" in text:
        text = json.dumps(_cleaned(json.loads(text)), separators=(",", ":"))
    return text


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean(key): _cleaned(item) for key, item in value.items()}
    return value
