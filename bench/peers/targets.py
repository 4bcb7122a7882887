"""What was aimed at, as ratios and limits within one run, each with met or not met."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench.peers.figures import Row, is_ours, rows, value

POOL, POOL_SQLITE, FORK = "reproq-pool-postgres", "reproq-pool-sqlite", "reproq-fork-postgres"
DRAIN = "drain_per_second"


@dataclass(frozen=True, slots=True)
class Target:
    what: str
    found: float
    """NaN: not measured in this run."""
    needed: float
    at_most: bool = False
    unit: str = "x"

    @property
    def verdict(self) -> str:
        if math.isnan(self.found):
            return "not measured"
        met = self.found <= self.needed if self.at_most else self.found >= self.needed
        return "met" if met else "NOT MET"


def targets(found: Mapping[str, Any]) -> list[Target]:
    peers = rows(found)
    return [*_drains(peers), *_starts(peers), *_enqueues(peers), *_idle(peers), *_flat(found.get("growth"))]


def as_json(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        asdict(one) | {"found": None if math.isnan(one.found) else one.found, "verdict": one.verdict}
        for one in targets(found)
    ]


def _drains(peers: Mapping[str, Row]) -> list[Target]:
    pool, sqlite, fork = (value(peers.get(name), DRAIN) for name in (POOL, POOL_SQLITE, FORK))
    others = [row for row in peers.values() if not is_ours(row) and not math.isnan(value(row, DRAIN))]
    fastest = max(others, key=lambda row: value(row, DRAIN), default=None)
    on_postgres = [row for row in others if row["stores"] == "postgres"]
    fastest_there = max(on_postgres, key=lambda row: value(row, DRAIN), default=None)

    def against(row: Row | None, needed: float, mine: float, what: str) -> Target:
        name = f" ({row['title']})" if row and row["title"] not in what else ""
        return Target(f"drain, {what}{name}", mine / value(row, DRAIN), needed)

    return [
        against(fastest, 1.0, pool, "pool on PostgreSQL : the fastest peer"),
        against(fastest_there, 1.5, pool, "pool on PostgreSQL : the fastest peer on PostgreSQL"),
        against(peers.get("huey-redis"), 3.0, pool, "pool on PostgreSQL : Huey, Redis"),
        against(peers.get("celery-redis"), 12.0, pool, "pool on PostgreSQL : Celery, Redis"),
        against(peers.get("django-tasks-db"), 20.0, pool, "pool on PostgreSQL : django-tasks-db"),
        Target("drain, pool on PostgreSQL : reproq-django 0.1.529 (not on PyPI)", math.nan, 2_000.0),
        against(peers.get("huey-sqlite"), 4.0, sqlite, "pool on SQLite : Huey, SQLite"),
        against(peers.get("rq"), 5.0, fork, "fork on PostgreSQL : RQ (a fork per job)"),
    ]


def _starts(peers: Mapping[str, Row]) -> list[Target]:
    def limit(name: str, figure: str, needed: float, what: str) -> Target:
        return Target(what, value(peers.get(name), figure), needed, at_most=True, unit="ms")

    return [
        limit(POOL, "starts_idle_p50", 1.5, "start on an idle worker, PostgreSQL, p50"),
        limit(POOL, "starts_idle_p99", 6.0, "start on an idle worker, PostgreSQL, p99"),
        limit(POOL_SQLITE, "starts_idle_p50", 3.0, "start on an idle worker, SQLite, p50"),
    ]


def _enqueues(peers: Mapping[str, Row]) -> list[Target]:
    ours = peers.get(POOL)
    others = value(peers.get("django-tasks-db"), "enqueue_per_second")
    return [
        Target("enqueue, one loop : django-tasks-db", value(ours, "enqueue_per_second") / others, 1.0),
        Target("bulk enqueue", value(ours, "bulk_enqueue_per_second"), 30_000.0, unit="/s"),
    ]


def _idle(peers: Mapping[str, Row]) -> list[Target]:
    ours = peers.get(POOL)
    limits = (
        ("idle worker process, memory", "idle_head_pss_mib", 15.0, "MiB"),
        ("idle worker with two warm children, memory", "idle_pss_mib", 75.0, "MiB"),
        ("idle worker with its children, CPU", "idle_cpu_percent", 0.5, "%"),
        ("idle worker, connections", "connections", 4.0, ""),
    )
    return [
        Target(what, value(ours, name), needed, at_most=True, unit=unit)
        for what, name, needed, unit in limits
    ]


def _flat(growth: Mapping[str, Any] | None) -> list[Target]:
    """Of the drain rate in an empty table."""
    cases = ("ready", "finished")
    found = (growth or {}).get("flat", {})
    targets = []
    for database in ("postgres", "sqlite"):
        for case in cases:
            one = found.get(database, {}).get(case)
            if one or database == "postgres":
                rows_there = f"{one['rows']:,} " if one else ""
                what = f"drain among {rows_there}{case} rows : empty table, {database}"
                targets.append(Target(what, one["ratio"] if one else math.nan, 0.9))
    return targets
