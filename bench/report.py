"""Samples in, text and JSON out. Pure: knows no database and no process."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from bench.measure import GAP_SECONDS, Sample


@dataclass(frozen=True, slots=True)
class Key:
    """What was measured."""

    executor: str
    concurrency: int
    database: str


@dataclass(slots=True)
class Outcome:
    """Everything that one run of the benchmark has found."""

    machine: dict[str, Any]
    plan: dict[str, Any]
    samples: dict[Key, list[Sample]] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    """Load, steal and others' CPU over the whole run."""
    notes: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether every task ran to its end, and once."""
        everything = [sample for samples in self.samples.values() for sample in samples]
        return bool(everything) and not any(sample.lost or sample.repeated for sample in everything)


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def rates(sample: Sample) -> dict[str, float]:
    """What a sample's figures are quoted as."""
    cpu = sample.cpu
    each_ms = 1000 / sample.count
    return {
        "bulk_enqueue_per_second": sample.count / sample.bulk_enqueue,
        "drain_per_second": sample.count / sample.drain if sample.drain else math.nan,
        "drain_per_second_since_ready": (
            sample.count / sample.drain_since_ready if sample.drain_since_ready else math.nan
        ),
        # How long a slot is busy with one, all of them being busy.
        "slot_ms": sample.drain * each_ms * sample.slots if sample.drain else math.nan,
        "cold_start_seconds": sample.cold_start,
        "worker_cpu_ms": cpu.worker * each_ms if cpu else math.nan,
        "children_cpu_ms": cpu.children * each_ms if cpu else math.nan,
        "database_cpu_ms": cpu.database * each_ms if cpu else math.nan,
        # While the backlog was drained, in cores.
        "others_cores": cpu.others / sample.drain if cpu and sample.drain else math.nan,
        "worker_pss_mib": sample.worker_pss_mib,
        "children": float(sample.children),
        "children_pss_mib": sample.children_pss_mib,
    }


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Per figure its median, least and most over the repetitions; percentiles over all single runs."""
    columns = [rates(sample) for sample in samples]
    found: dict[str, Any] = {
        name: {
            "median": median(column[name] for column in columns),
            "min": min(column[name] for column in columns),
            "max": max(column[name] for column in columns),
        }
        for name in columns[0]
    }
    for name in ("start_latencies", "enqueue_calls"):
        values = [value * 1000 for sample in samples for value in getattr(sample, name)]
        found[f"{name}_ms"] = {
            "count": len(values),
            "p50": percentile(values, 50),
            "p99": percentile(values, 99),
            "max": max(values, default=math.nan),
        }
    found["repetitions"] = len(samples)
    found["lost"] = sum(sample.lost for sample in samples)
    found["repeated"] = sum(sample.repeated for sample in samples)
    return found


def as_json(outcome: Outcome) -> dict[str, Any]:
    """All of it, with every single sample."""
    return {
        "machine": outcome.machine,
        "plan": outcome.plan,
        "conditions": outcome.conditions,
        "notes": outcome.notes,
        "sound": outcome.is_sound,
        "results": [
            asdict(key) | {"summary": summary(samples), "samples": [asdict(sample) for sample in samples]}
            for key, samples in outcome.samples.items()
        ],
    }


def as_text(outcome: Outcome) -> str:
    """What is printed."""
    found = {key: summary(samples) for key, samples in outcome.samples.items()}
    parts = [
        _facts(outcome.machine | outcome.plan),
        "\nDrain of no-ops, worker started on the backlog; median (min-max) of the repetitions",
        _table(found, DRAIN),
        f"\nSingle enqueues on an idle worker, {_gaps()} apart; ms from enqueue() to the task's own code",
        _table(found, LATENCY),
        "\nCPU per drained task, ms (user + system); others = the machine's foreign load meanwhile",
        _table(found, CPU),
        "\nMemory of the idle worker after all that, MiB (PSS)",
        _table(found, MEMORY),
        "\nOne mode against another, in this run",
        *_ratios(found),
        "",
        _facts(outcome.conditions),
        *(f"note: {note}" for note in outcome.notes),
        _verdict(outcome),
    ]
    return "\n".join(parts)


Column = tuple[str, Callable[[dict[str, Any]], str]]


def _spread(name: str, digits: int = 0) -> Callable[[dict[str, Any]], str]:
    def cell(found: dict[str, Any]) -> str:
        value = found[name]
        middle, least, most = (f"{value[part]:,.{digits}f}" for part in ("median", "min", "max"))
        return middle if least == most else f"{middle} ({least}-{most})"

    return cell


def _middle(name: str, digits: int) -> Callable[[dict[str, Any]], str]:
    return lambda found: f"{found[name]['median']:,.{digits}f}"


def _part(name: str, part: str, digits: int = 1) -> Callable[[dict[str, Any]], str]:
    return lambda found: f"{found[name][part]:,.{digits}f}"


def _cpu_sum(found: dict[str, Any]) -> str:
    names = ("worker_cpu_ms", "children_cpu_ms", "database_cpu_ms")
    return f"{sum(found[name]['median'] for name in names):,.3f}"


DRAIN: tuple[Column, ...] = (
    ("tasks/s", _spread("drain_per_second", 1)),
    ("ms per task and slot", _middle("slot_ms", 3)),
    ("since ready", _middle("drain_per_second_since_ready", 1)),
    ("cold start s", _middle("cold_start_seconds", 2)),
    ("bulk enqueue/s", _middle("bulk_enqueue_per_second", 0)),
    ("lost", lambda found: str(found["lost"])),
    ("repeated", lambda found: str(found["repeated"])),
)
LATENCY: tuple[Column, ...] = (
    ("start p50", _part("start_latencies_ms", "p50")),
    ("p99", _part("start_latencies_ms", "p99")),
    ("max", _part("start_latencies_ms", "max")),
    ("enqueue() p50", _part("enqueue_calls_ms", "p50")),
    ("p99", _part("enqueue_calls_ms", "p99")),
    ("of", _part("start_latencies_ms", "count", 0)),
)
CPU: tuple[Column, ...] = (
    ("worker", _middle("worker_cpu_ms", 3)),
    ("children", _middle("children_cpu_ms", 3)),
    ("database", _middle("database_cpu_ms", 3)),
    ("sum", _cpu_sum),
    ("others, cores", _spread("others_cores", 2)),
)
MEMORY: tuple[Column, ...] = (
    ("worker", _middle("worker_pss_mib", 1)),
    ("children", _middle("children_pss_mib", 1)),
    ("processes", _middle("children", 0)),
)


def _table(found: dict[Key, dict[str, Any]], columns: Sequence[Column]) -> str:
    rows = [("mode", "slots", "database", *(title for title, _ in columns))]
    for key, values in found.items():
        cells = (cell(values) for _, cell in columns)
        rows.append((key.executor, str(key.concurrency), key.database, *cells))
    return table(rows, texts={0, 2})


def table(rows: Sequence[Sequence[str]], texts: Collection[int]) -> str:
    """The first row is the heading; the columns ``texts`` begin on the left."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  "
        + "  ".join(
            cell.ljust(width) if place in texts else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


#: Which is compared with which: the more isolated one second.
PAIRS = (("pool", "process"), ("fork", "process"), ("pool", "fork"))


def _ratios(found: dict[Key, dict[str, Any]]) -> list[str]:
    lines = []
    for slow_key, slow in found.items():
        for fast_key, fast in found.items():
            pair = (fast_key.executor, slow_key.executor)
            if pair not in PAIRS or fast_key.database != slow_key.database:
                continue
            drain = fast["drain_per_second"]["median"] / slow["drain_per_second"]["median"]
            start = slow["start_latencies_ms"]["p50"] / fast["start_latencies_ms"]["p50"]
            lines.append(
                f"  {fast_key.database:8}  {pair[0]} with {fast_key.concurrency} slots, {pair[1]} with "
                f"{slow_key.concurrency}: {drain:,.0f} x the drain rate, start p50 {start:,.0f} x sooner"
            )
    return lines


def _facts(facts: dict[str, Any]) -> str:
    width = max(map(len, facts))
    return "\n".join(f"{name.replace('_', ' '):{width}}  {value}" for name, value in facts.items())


def _gaps() -> str:
    return "-".join(f"{seconds * 1000:.0f}" for seconds in GAP_SECONDS) + " ms"


def _verdict(outcome: Outcome) -> str:
    if outcome.is_sound:
        return "every task ran to its end, and once"
    return "FAILED: tasks were lost or ran more than once, see the first table"
