"""A site on an earlier database: what it holds, and `manage.py migrate` on it."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from tools.postgres import PostgresCluster

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

_POSTGRES_SHAPE = {
    "columns": """
        SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default
          FROM information_schema.columns
         WHERE table_schema = 'public' AND table_name <> 'django_migrations'""",
    "indexes": """SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
                     AND (tablename IN ('task_runs', 'reproq_key_limits', 'reproq_task_controls')
                          OR indexname LIKE 'reproq_rate%')""",
    "constraints": """SELECT conname, pg_get_constraintdef(oid), convalidated FROM pg_constraint
                       WHERE conrelid = 'task_runs'::regclass AND contype <> 'n'""",
    "triggers": "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT pg_get_functiondef(p.oid) FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace"
    " WHERE nspname = 'public'",
    "views": "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public'",
    "options": "SELECT relname, reloptions FROM pg_class WHERE relname = 'task_runs'",
}


class Site:
    """One database. ``sql`` runs a script, ``rows`` a query; ``migrate`` is the real command in a process of
    its own."""

    vendor: str
    place: str

    def migrate(self, *arguments: str, **extra_environment: str) -> str:
        """Its output; raises when it fails. ``arguments`` are another management command and its own."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")]),
            "DJANGO_SETTINGS_MODULE": "upgrade.settings",
            "REPROQ_UPGRADE_DATABASE": self.place,
            **extra_environment,
        }
        command = [sys.executable, "-m", "django", *(arguments or ("migrate",))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(self, script: str) -> None:
        raise NotImplementedError

    def rows(self, query: str) -> list[Any]:
        raise NotImplementedError

    def shape(self) -> dict[str, set[Any]]:
        """Everything that the schema files decide, without order."""
        raise NotImplementedError

    def contents(self) -> dict[str, list[Any]]:
        """All rows of all tables."""
        tables = [
            "task_runs", "periodic_tasks", "reproq_workers", "reproq_queue_controls", "rate_limits",
            "workflow_runs", "reproq_workflow_steps", "reproq_workflow_events", "reproq_task_controls",
            "reproq_key_limits", "reproq_attempt_logs", "periodic_runs", "reproq_meta",
        ]  # fmt: skip
        return {table: sorted(self.rows(f"SELECT * FROM {table}"), key=repr) for table in tables}


class PostgresSite(Site):
    vendor = "postgres"

    def __init__(self, cluster: PostgresCluster, name: str) -> None:
        cluster.sql(f"CREATE DATABASE {name}")
        self.place = f"{cluster.port}/{name}"
        self._dsn = cluster.dsn(name)

    def sql(self, script: str) -> None:
        with psycopg.connect(self._dsn) as connection:
            connection.execute(script.encode())

    def rows(self, query: str) -> list[Any]:
        with psycopg.connect(self._dsn) as connection:
            return connection.execute(query.encode()).fetchall()

    def shape(self) -> dict[str, set[Any]]:
        return {part: {str(row) for row in self.rows(query)} for part, query in _POSTGRES_SHAPE.items()}


class SqliteSite(Site):
    vendor = "sqlite"

    def __init__(self, path: Path) -> None:
        self.place = str(path)

    def sql(self, script: str) -> None:
        with closing(sqlite3.connect(self.place)) as connection:
            connection.executescript(script)

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.place)) as connection:
            return connection.execute(query).fetchall()

    def shape(self) -> dict[str, set[Any]]:
        objects = self.rows(
            "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE tbl_name <> 'django_migrations'"
        )
        columns = {
            (name, *row[1:])
            for kind, name, *_ in objects
            if kind == "table"
            for row in self.rows(f"PRAGMA table_info({name})")
        }
        return {
            "columns": columns,
            "others": {tuple(row) for row in objects if row[0] != "table"},
            "keys": {row[2:] for row in self.rows("PRAGMA foreign_key_list(task_runs)")},
        }
