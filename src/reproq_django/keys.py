"""Keys of a run: what it shares with the runs that it must not run beside, ahead of or faster than."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.tasks.exceptions import InvalidTask

#: Bytes of UTF-8. A waiting run is in an index under all of its keys at once, and an entry has to fit a page.
MAX_KEY_BYTES: Final = 400


def key_of_run(
    name: str, key: Any, args: tuple[Any, ...] | list[Any], kwargs: Mapping[str, Any]
) -> str | None:
    """The key called ``name`` of the run with these arguments: ``key``, or the answer of ``key`` if that is a
    callable.

    Raises InvalidTask for a key that cannot be stored, and what the callable raises.
    """
    if callable(key):
        key = key(*args, **kwargs)
    if key is None:
        return None
    if not isinstance(key, str):
        raise InvalidTask(f"{name} must be a string, not {key!r}.")
    if "\0" in key or (not key.isprintable() and any("\ud800" <= character <= "\udfff" for character in key)):
        raise InvalidTask(f"{name} must not hold a null character or a lone surrogate.")
    # A character takes four bytes at most, so that most keys need not be encoded to be measured.
    if len(key) > MAX_KEY_BYTES // 4 and (size := len(key.encode())) > MAX_KEY_BYTES:
        raise InvalidTask(
            f"{name} takes {size:,} bytes, but an index holds no more than {MAX_KEY_BYTES}: {key[:40]!r}... "
            "Use an id, or a hash of what is long."
        )
    return key
