"""The statements that Python and the binary both run: ``sql/<vendor>/statements/<name>.sql``."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Final

#: Django's name of a database -> the folder.
_FOLDERS: Final = {"postgresql": "postgres", "sqlite": "sqlite"}


@cache
def statement(vendor: str, name: str) -> str:
    """The text of a statement for ``connection.vendor``, with ``%(name)s`` for its parameters."""
    folder = files("reproq_django") / "sql" / _FOLDERS[vendor] / "statements"
    return (folder / f"{name}.sql").read_text("utf-8")
