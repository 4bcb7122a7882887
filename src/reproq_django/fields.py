"""JSON kept as it was written."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import JSONField
from django.db.models.fields.json import KeyTransform

from reproq_django.serialization import canonical_json


class ExactJSONField(JSONField):
    """A JSONField whose column on PostgreSQL is ``json``: the text survives, with its hash.

    ``jsonb`` would rewrite numbers (``1e+20`` turns into an integer). The price: no ``__contains`` and no
    index on the value. ``__key`` lookups work, through a cast.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        """``json`` on PostgreSQL, Django's own choice elsewhere."""
        return "json" if connection.vendor == "postgresql" else super().db_type(connection)

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        """Canonical text; Django's adaptation would go through jsonb."""
        return canonical_json(value)

    def get_placeholder(self, value: Any, compiler: Any, connection: BaseDatabaseWrapper) -> str:
        """Django 6.0's form of ``get_placeholder_sql``."""
        return "%s::json" if connection.vendor == "postgresql" else "%s"

    def get_placeholder_sql(
        self, value: Any, compiler: Any, connection: BaseDatabaseWrapper
    ) -> tuple[str, tuple[Any, ...]]:
        """Names the type, for sites that bind parameters on the server."""
        return self.get_placeholder(value, compiler, connection), (value,)

    def select_format(self, compiler: Any, sql: str, params: Any) -> tuple[str, Any]:
        """Read text: psycopg would decode ``json`` by itself, and a JSON string could not be told from JSON
        text."""
        return (f"{sql}::text" if compiler.connection.vendor == "postgresql" else sql), params

    def get_transform(self, name: str) -> Any:
        """``spec_json__task_path`` and the like."""
        transform = super().get_transform(name)
        # Registered transforms are classes; a key arrives as JSONField's factory.
        return transform if isinstance(transform, type) else _ExactKeyFactory(name)


class _ExactKeyTransform(KeyTransform):
    """A key of a ``json`` column, as jsonb, which can be compared."""

    def preprocess_lhs(self, compiler: Any, connection: BaseDatabaseWrapper) -> Any:
        lhs, params, keys = super().preprocess_lhs(compiler, connection)
        return (f"({lhs})::jsonb" if connection.vendor == "postgresql" else lhs), params, keys


class _ExactKeyFactory:
    def __init__(self, key_name: str) -> None:
        self.key_name = key_name

    def __call__(self, *args: Any, **kwargs: Any) -> _ExactKeyTransform:
        return _ExactKeyTransform(self.key_name, *args, **kwargs)
