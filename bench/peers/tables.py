"""The comparison as text: aligned columns, which Markdown and a terminal both show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bench.peers import targets
from bench.peers.explained import explained
from bench.peers.figures import Row, is_ours, rows, value
from bench.report import table

type Column = tuple[str, str, int]
"""Heading, figure, digits."""

RATES: tuple[Column, ...] = (
    ("drain/s", "drain_per_second", 0),
    ("enqueue/s", "enqueue_per_second", 0),
    ("of many/s", "enqueue_by_many_per_second", 0),
    ("bulk/s", "bulk_enqueue_per_second", 0),
    ("cold start s", "cold_start_seconds", 2),
)
STARTS: tuple[Column, ...] = (
    ("idle p50", "starts_idle_p50", 2),
    ("p95", "starts_idle_p95", 2),
    ("p99", "starts_idle_p99", 2),
    ("half load p50", "starts_loaded_p50", 2),
    ("p95", "starts_loaded_p95", 2),
    ("p99", "starts_loaded_p99", 2),
    ("at/s", "load_per_second", 0),
)
KINDS: tuple[Column, ...] = (
    ("10 ms sleep/s", "rest_per_second", 0),
    ("5 ms CPU/s", "cpu_per_second", 0),
    ("ORM/s", "orm_per_second", 0),
    ("async 10 ms/s", "async_rest_per_second", 0),
)
COSTS: tuple[Column, ...] = (
    ("CPU ms", "cpu_ms", 3),
    ("worker", "worker_cpu_ms", 3),
    ("its head", "head_cpu_ms", 3),
    ("database", "database_cpu_ms", 3),
    ("broker", "broker_cpu_ms", 3),
    ("WAL bytes", "drain_wal_bytes", 0),
    ("transactions", "drain_transactions", 3),
    ("buffers", "drain_buffers_hit", 1),
    ("enqueue: WAL", "enqueue_wal_bytes", 0),
    ("transactions", "enqueue_transactions", 2),
    ("buffers", "enqueue_buffers_hit", 1),
)
MEMORY: tuple[Column, ...] = (
    ("idle MiB", "idle_pss_mib", 1),
    ("busy MiB", "busy_pss_mib", 1),
    ("processes", "idle_processes", 0),
    ("broker MiB", "broker_pss_mib", 1),
    ("idle CPU %", "idle_cpu_percent", 2),
    ("connections", "connections", 0),
)
TABLES: tuple[tuple[str, tuple[Column, ...], bool], ...] = (
    ("No-ops drained and enqueued, by two worker processes or children", RATES, True),
    ("ms from enqueue to first line; half load: of drain, or of one process's enqueue", STARTS, False),
    ("Other tasks, by the same two", KINDS, False),
    ("What a drained no-op costs; and an enqueued one", COSTS, False),
    ("Memory (PSS) of the worker with its children, and what it does while idle", MEMORY, False),
)  # fmt: skip


DURABILITY = (
    "PostgreSQL fsync and synchronous_commit on; SQLite WAL and FULL; Redis AOF, flushed each second unless "
    "it says otherwise; RabbitMQ durable queues"
)


def as_text(found: Mapping[str, Any]) -> str:
    """All tables, verdicts and conditions."""
    peers = rows(found)
    parts = [_facts(found)]
    for title, columns, spread in TABLES:
        parts += [f"\n{title}", _table(peers.values(), columns, spread=spread)]
    parts += ["\nTargets", _targets(found), "", *explained(found), "", _soundness(peers.values())]
    if growth := found.get("growth"):
        parts += ["\nReproq as things grow (no-ops drained a second)", _growth(growth)]
    if found.get("backlog"):
        parts += ["\nNo-ops drained a second while many wait, and of an empty queue's rate", _backlogs(found)]
    return "\n".join(parts)


def _table(peers: Any, columns: Sequence[Column], *, spread: bool) -> str:
    lines = [("", *(title for title, _, _ in columns))]
    for row in peers:
        show = _spread if spread else _cell
        lines.append((row["title"], *(show(row, name, digits) for _, name, digits in columns)))
    return table(lines, texts={0})


def _cell(row: Row, name: str, digits: int) -> str:
    found = value(row, name)
    return "-" if math.isnan(found) else f"{found:,.{digits}f}"


def _spread(row: Row, name: str, digits: int) -> str:
    if name not in row["figures"] or row["repetitions"] < 2:
        return _cell(row, name, digits)
    middle, least, most = (f"{row['figures'][name][part]:,.{digits}f}" for part in ("median", "min", "max"))
    return f"{middle} ({least}-{most})"


def _targets(found: Mapping[str, Any]) -> str:
    lines = [("", "found", "target", "")]
    for one in targets.targets(found):
        sign = "<=" if one.at_most else ">="
        shown = "-" if math.isnan(one.found) else f"{one.found:,.2f} {one.unit}"
        lines.append((one.what, shown, f"{sign} {one.needed:,g} {one.unit}", one.verdict))
    return table(lines, texts={0, 3})


def _soundness(peers: Any) -> str:
    """What was lost, repeated or did not work; of each, since silence would not say that it was looked at."""
    said = []
    for row in peers:
        found = []
        if row["lost"] or row["repeated"]:
            found.append(f"{row['lost']} lost, {row['repeated']} repeated")
        found += [f"note: {note}" for note in row["notes"]]
        found += [f"FAILED: {failure.splitlines()[0]}" for failure in row["failures"]]
        if found:
            said.append(f"  {row['title']}: {'; '.join(found)}")
    sound = [row["title"] for row in peers if row["repetitions"] and not (row["lost"] or row["repeated"])]
    return "\n".join([f"every task ran once with: {', '.join(sound)}", *said])


def _facts(found: Mapping[str, Any]) -> str:
    machine = found["machine"]
    absent = [f"{name}: {why}" for name, why in found["absent"].items()]
    repetitions = max(map(len, found["samples"].values()), default=0)
    steal, foreign = (_most(found, name) for name in ("steal_cores", "foreign_cores"))
    changed = " with changes" if machine["git_changes"] else ""
    cpu = f"{machine['cores']} cores, {machine['cpu']}"
    facts = {
        "plan": f"{found['plan']}, {repetitions} repetitions, interleaved; {found['seconds']:,} s",
        "machine": f"{cpu}, {machine['memory_gib']} GiB, Linux {machine['kernel']}",
        "software": " ".join(
            f"{title} {machine.get(name)}"
            for title, name in (("Python", "python"), ("Django", "django"), ("PostgreSQL", "postgresql"))
        ),
        "commit": f"{machine['git_commit']}{changed}, {found['began']}",
        "disturbed": f"during drains at most {steal:.2f} cores stolen and {foreign:.2f} used by others",
        "durability": DURABILITY,
        "left out": "; ".join(absent),
    }
    return "\n".join(f"{name:10}  {said}" for name, said in facts.items() if said)


def _most(found: Mapping[str, Any], figure: str) -> float:
    """Over all peers and repetitions."""
    samples = [sample for samples in found["samples"].values() for sample in samples]
    return max((sample["figures"].get(figure, 0.0) for sample in samples), default=0.0)


def _growth(growth: Mapping[str, Any]) -> str:
    lines = [("", "what", "tasks/s", "min", "max", "of the first")]
    first: dict[str, float] = {}
    for one in growth["cases"]:
        key = f"{one['database']}, {one['axis']}"
        base = first.setdefault(key, one["median"])
        figures = [f"{one[name]:,.0f}" for name in ("median", "min", "max")]
        lines.append((key, one["case"], *figures, f"{one['median'] / base:.2f}"))
    return table(lines, texts={0, 1})


def _backlogs(found: Mapping[str, Any]) -> str:
    """Ours by the rounds of ``growth``; the others against the drain of this run."""
    peers = rows(found)
    lines = [("", "wait", "tasks/s", "of empty")]
    for database, cases in found.get("growth", {}).get("flat", {}).items():
        if ready := cases.get("ready"):
            (case,) = (
                one
                for one in found["growth"]["cases"]
                if (one["database"], one["rows"]) == (database, ready["rows"])
                and one["case"].endswith("ready")
            )
            title = peers[f"reproq-pool-{database}"]["title"]
            lines.append((title, f"{ready['rows']:,}", f"{case['median']:,.0f}", f"{ready['ratio']:.2f}"))
    for name, one in found["backlog"].items():
        if failure := one.get("failure"):
            lines.append((peers[name]["title"], f"{one['rows']:,}", failure.splitlines()[0], "-"))
            continue
        ratio = one["per_second"] / value(peers[name], "drain_per_second")
        lines.append((peers[name]["title"], f"{one['rows']:,}", f"{one['per_second']:,.0f}", f"{ratio:.2f}"))
    return table(lines, texts={0})


def _versioned(row: Row) -> str:
    """The version after the peer's own name, not after that of its broker."""
    title = str(row["title"])
    if is_ours(row):
        return f"**{title}**"
    end = min((place for place in (title.find(","), title.find(" (")) if place > 0), default=len(title))
    return f"{title[:end]} {row['version']}{title[end:]}"


HEADLINE: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("", _versioned),
    ("tasks/s", lambda row: _cell(row, "drain_per_second", 0)),
    ("start p50, ms", lambda row: _cell(row, "starts_idle_p50", 1)),
    ("p99", lambda row: _cell(row, "starts_idle_p99", 1)),
    ("enqueue/s", lambda row: _cell(row, "enqueue_per_second", 0)),
    ("bulk/s", lambda row: _cell(row, "bulk_enqueue_per_second", 0)),
    ("CPU ms", lambda row: _cell(row, "cpu_ms", 2)),
    ("idle MiB", lambda row: _cell(row, "idle_pss_mib", 0)),
    ("a crash takes", lambda row: f"the {row['isolation']}"),
    ("results", lambda row: row["results"]),
)


def headline(found: Mapping[str, Any]) -> str:
    """The README's table, in Markdown; the fastest first."""
    peers = [row for row in rows(found).values() if row["repetitions"]]
    peers.sort(key=lambda row: -value(row, "drain_per_second"))
    lines = [
        "| " + " | ".join(title for title, _ in HEADLINE) + " |",
        "|---|" + "---:|" * (len(HEADLINE) - 3) + "---|---|",
        *("| " + " | ".join(cell(row) for _, cell in HEADLINE) + " |" for row in peers),
    ]
    return "\n".join(lines)
