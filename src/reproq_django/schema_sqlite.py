"""What SQLite's own DDL cannot say: columns only if they are missing, other defaults, old indexes away.

Used by ``schema.py`` alone, inside its transaction.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any, Final

_ADD_COLUMN: Final = re.compile(r"ALTER TABLE (\w+) ADD COLUMN (\w+)")

#: Names of the earlier system's indexes: its own, and those that Django made up. As in
#: postgres/40_indexes.sql.
_OLD_INDEX: Final = re.compile(r"idx_task_runs_|task_runs_.*_[0-9a-f]{6,8}(_idx|_like|_uniq|_fk)?$")


def apply(cursor: Any, sql: Mapping[str, str]) -> None:
    """Run the schema files (name -> text, in order) so that they may find any earlier shape."""
    _drop_views(cursor)
    own_by_table = _set_aside(cursor, sql["10_tables.sql"])
    for name, text in sql.items():
        if name == "40_indexes.sql":
            _drop_old_indexes(cursor)
        for statement in _statements(text):
            added = _ADD_COLUMN.search(statement)
            if added is None or added[2] not in _columns(cursor, added[1]):
                cursor.execute(statement)
        if name == "20_columns.sql":
            # Before the triggers of the next file, which would take each old row for a new one.
            for table, own in own_by_table.items():
                _refill(cursor, table)
                for statement in own:
                    cursor.execute(statement)


def _drop_views(cursor: Any) -> None:
    """Ours are made anew by a later file; meanwhile SQLite renames no table that a view of a missing one
    reads."""
    cursor.execute("SELECT name FROM sqlite_master WHERE type = 'view' AND name LIKE 'reproq!_%' ESCAPE '!'")
    for (name,) in cursor.fetchall():
        cursor.execute(f"DROP VIEW {name}")


def _statements(text: str) -> Iterator[str]:
    """The statements of a file; a trigger's inner semicolons do not end one."""
    pending = ""
    for line in text.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _columns(cursor: Any, table: str) -> dict[str, str | None]:
    """Column -> its default as written."""
    cursor.execute(f'PRAGMA table_info("{table}")')
    return {row[1]: row[4] for row in cursor.fetchall()}


def _set_aside(cursor: Any, tables_sql: str) -> dict[str, list[str]]:
    """Rename the tables that lack a default of ours, as those that Django made do: SQLite can add a default
    no other way.

    Answers, for each of them, the statements that make the indexes and triggers of the site's own.
    """
    fresh = sqlite3.connect(":memory:")
    try:
        fresh.executescript(tables_sql)
        wanted_tables = [
            row[0]
            for row in fresh.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
        ]
        wanted = {table: _columns(fresh.cursor(), table) for table in wanted_tables}
    finally:
        fresh.close()
    renamed = {}
    for table, columns in wanted.items():
        found = _columns(cursor, table)
        if any(
            default is not None and found[name] is None for name, default in columns.items() if name in found
        ):
            cursor.execute(
                "SELECT name, sql FROM sqlite_master"
                " WHERE tbl_name = %s AND type IN ('index', 'trigger') AND sql IS NOT NULL",
                [table],
            )
            # Ours come back by the next files; a unique index on the hash under another name goes with the
            # old ones there.
            renamed[table] = [text for name, text in cursor.fetchall() if not _is_replaced(name)]
            cursor.execute(f"ALTER TABLE {table} RENAME TO {_old_name(table)}")
    return renamed


def _is_replaced(name: str) -> bool:
    return name.startswith("reproq_") or _OLD_INDEX.match(name) is not None


def _old_name(table: str) -> str:
    return f"reproq_before_{table}"


def _refill(cursor: Any, table: str) -> None:
    """Move the rows of the table set aside into the new one and drop it."""
    old = _old_name(table)
    shared = [name for name in _columns(cursor, old) if name in _columns(cursor, table)]
    unique = _drop_old_indexes(cursor, old) if table == "task_runs" else False
    names = ", ".join(shared)
    cursor.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {old}")  # noqa: S608 - our own names
    if unique:
        _keep_deduplicating(cursor)
    # AUTOINCREMENT must not give out the id of a run that was deleted.
    cursor.execute("SELECT seq FROM sqlite_sequence WHERE name = %s", [old])
    if sequence := cursor.fetchone():
        cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
        cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, sequence[0]])
    cursor.execute(f"DROP TABLE {old}")


def _drop_old_indexes(cursor: Any, table: str = "task_runs") -> bool:
    """Drop the earlier system's indexes; True when one of them kept ``spec_hash`` unique."""
    cursor.execute(f'PRAGMA index_list("{table}")')
    had_dedupe = False
    for _, name, unique, origin, _ in cursor.fetchall():
        cursor.execute(f'PRAGMA index_info("{name}")')
        on_hash = bool(unique) and [row[2] for row in cursor.fetchall()] == ["spec_hash"]
        if origin == "c" and not name.startswith("reproq_") and (on_hash or _is_replaced(name)):
            cursor.execute(f'DROP INDEX "{name}"')
            had_dedupe = had_dedupe or on_hash
    if had_dedupe and table == "task_runs":
        _keep_deduplicating(cursor)
    return had_dedupe


def _keep_deduplicating(cursor: Any) -> None:
    """The waiting runs were unique until now, so they can go on standing for their twins."""
    cursor.execute("UPDATE task_runs SET dedup = 1 WHERE status = 'READY' AND dedup = 0")
