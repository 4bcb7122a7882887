"""What can wait in a database while runs are claimed and ended. SQL fills it in, a million rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

QUEUES = ("default", "counted")
"""What the claimer serves, in all cases alike."""
TASK, COUNTED_TASK = "bench.tasks.noop", "bench.tasks.counted"
THOUSAND = 1_000


@dataclass(frozen=True, slots=True)
class Rows:
    """Runs that are alike. ``columns`` are SQL by name; ``+`` begins a time, so many days from now."""

    count: int
    columns: tuple[tuple[str, str], ...] = ()
    task: str = TASK

    def insert(self, vendor: str, count: int | None = None) -> str:
        names = "".join(f", {name}" for name, _ in self.columns)
        values = "".join(f", {_value(vendor, value)}" for _, value in self.columns)
        spec = (
            '{"args":[1],"kwargs":{},"options":{"priority":0,"queue":"default"},"task_path":"'
            + self.task
            + '"}'
        )
        hashed = f"'{'0' * 56}' || n" if vendor == "postgresql" else f"'{'0' * 56}' || CAST(n AS TEXT)"
        return (
            f"{_numbers(vendor, self.count if count is None else count)} "
            f"INSERT INTO task_runs (spec_json, spec_hash, task_path{names}) "
            f"SELECT '{spec}', {hashed}, '{self.task}'{values} FROM numbers ORDER BY n"
        )


@dataclass(frozen=True, slots=True)
class Case:
    """A database to claim in."""

    name: str
    free: tuple[Rows, ...]
    """What can be claimed; kept at this size."""
    waiting: tuple[Rows, ...] = ()
    """What cannot, enqueued before."""
    orders: tuple[str, ...] = ()
    """Statements before anything is enqueued."""
    against: str = "1k"
    """The case that this one is compared with."""

    def fill(self, connection: Any) -> None:
        vendor = connection.vendor
        with connection.cursor() as cursor:
            for order in self.orders:
                if vendor == "postgresql" or not order.startswith("ALTER"):
                    cursor.execute(order)
            for rows in (*self.waiting, *self.free):
                cursor.execute(rows.insert(vendor))

    def refill(self, connection: Any, count: int) -> None:
        """Replaces ``count`` runs that have been claimed."""
        with connection.cursor() as cursor:
            for rows in self.free:
                cursor.execute(rows.insert(connection.vendor, count // len(self.free)))


def cases(large: int, huge: int) -> Sequence[Case]:
    """The first is what the others are compared with."""
    plain = Rows(THOUSAND)
    future = Rows(huge, (("run_after", "+365"),))
    ended = Rows(
        huge, (("status", "'SUCCESSFUL'"), ("attempts", "1"), ("started_at", "+0"), ("finished_at", "+0"))
    )
    blind = ("ANALYZE", "ALTER TABLE task_runs SET (autovacuum_enabled = off)")
    holder = Rows(
        1,
        (
            ("status", "'RUNNING'"),
            ("lock_key", "'busy'"),
            ("slot_no", "-1"),
            ("epoch", "1"),
            ("leased_until", "+1"),
        ),
    )
    locked = Rows(large, (("lock_key", "'busy'"),))
    one, other = (Rows(THOUSAND, (("fairness_key", f"'{tenant}'"),)) for tenant in ("one", "other"))
    large_tenant = Rows(large, one.columns)
    return (
        Case("1k", (plain,)),
        Case("1k once more", (plain,)),
        Case(_short(large), (Rows(large),)),
        Case(_short(huge), (Rows(huge),)),
        Case(f"1k, {_short(huge)} not due", (plain,), (future,)),
        Case(f"{_short(large)}, {_short(huge)} not due", (Rows(large),), (future,)),
        Case(f"{_short(huge)}, {_short(huge)} not due", (Rows(huge),), (future,)),
        Case(f"1k, {_short(huge)} ended", (plain,), (ended,)),
        Case(f"{_short(huge)}, statistics of an empty table", (Rows(huge),), orders=blind),
        Case(f"1k, {_short(huge)} not due, statistics of an empty table", (plain,), (future,), orders=blind),
        Case(f"1k, {_short(large)} behind a busy lock", (plain,), (holder, locked)),
        Case(
            f"1k, {_short(large)} behind an exhausted rate of their task",
            (plain,),
            (Rows(large, task=COUNTED_TASK),),
            (_exhausted(f"task:{COUNTED_TASK}"),),
        ),
        Case(
            f"1k, {_short(large)} behind an exhausted rate of their queue",
            (plain,),
            (Rows(large, (("queue_name", "'counted'"),)),),
            (_exhausted("queue:counted"),),
        ),
        Case(
            f"1k, {_short(large)} behind an exhausted rate of their key",
            (plain,),
            (Rows(large, (("rate_key", "'key:k'"), ("rate_per_second", "0.000001"), ("rate_burst", "1"))),),
            (_exhausted("key:k"),),
        ),
        Case("two tenants, 1k + 1k", (one, other), against="two tenants, 1k + 1k"),
        Case(f"two tenants, {_short(large)} + 1k", (large_tenant, other), against="two tenants, 1k + 1k"),
    )


def _exhausted(key: str) -> str:
    return (
        "INSERT INTO rate_limits (key, tokens_per_second, burst_size, current_tokens) "
        f"VALUES ('{key}', 0.000001, 1, 0)"
    )


def _short(count: int) -> str:
    return f"{count // 1_000_000}M" if count >= 1_000_000 else f"{count // THOUSAND}k"


def _numbers(vendor: str, count: int) -> str:
    if vendor == "postgresql":
        return f"WITH numbers (n) AS (SELECT generate_series(1, {count}))"
    return f"WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {count})"


def _value(vendor: str, value: str) -> str:
    if not value.startswith("+"):
        return value
    if vendor == "postgresql":
        return f"now() + interval '{value[1:]} days'"
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', '{value} days')"
