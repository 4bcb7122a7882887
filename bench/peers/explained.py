"""Where our time goes, as measured, and what the floor of it is: for who reads that a target is not met."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from bench.peers.figures import Row, is_ours, rows, value
from bench.peers.targets import FORK, POOL, targets
from bench.report import percentile

#: How the targets begin that compare its drain with others'.
DRAINS = {POOL: "drain, pool on PostgreSQL", FORK: "drain, fork on PostgreSQL"}


def explained(found: Mapping[str, Any]) -> list[str]:
    """A line for each cost, and beneath it one for each floor that was measured."""
    cores = found["machine"]["cores"]
    by_peer = found.get("floors", {}).get("by_peer", {})
    lines = []
    for name, row in rows(found).items():
        floors = by_peer.get(name, {})
        if is_ours(row) and not math.isnan(value(row, "head_cpu_ms")) and value(row, "cpu_ms"):
            lines += [_drain(row, cores), *_drain_floors(floors, cores, _wanted(found, row))]
            lines += [_start_and_bulk(row), *_start_floors(floors), *_bulk_floors(floors)]
    return lines


def _drain(row: Row, cores: int) -> str:
    """By whose CPU it is, and what is the most that it allows on this machine."""
    head, all_of_it = value(row, "head_cpu_ms"), value(row, "cpu_ms")
    children = value(row, "worker_cpu_ms") - head
    return (
        f"{row['title']}: {all_of_it * 1000:,.0f} us of CPU a no-op, of it binary {head * 1000:,.0f}, "
        f"Python {children * 1000:,.0f}, database {value(row, 'database_cpu_ms') * 1000:,.0f}; "
        f"{cores} cores can do {cores / all_of_it * 1000:,.0f}/s at that, and did "
        f"{value(row, 'drain_per_second'):,.0f}"
    )


def _start_and_bulk(row: Row) -> str:
    """Where the time of a start goes, and what one of a bulk enqueue takes."""
    start, call = value(row, "starts_idle_p50"), value(row, "enqueue_calls_p50")
    each = 1e6 / value(row, "bulk_enqueue_per_second")
    return (
        f"{row['title']}: a start on an idle worker takes {start:,.2f} ms, of it {call:,.2f} in the call "
        "that enqueues (one transaction and its flush), the rest in the wake, the claim (another one) and "
        f"the way into the child; one of many that are enqueued at once takes {each:,.0f} us"
    )


def _wanted(found: Mapping[str, Any], row: Row) -> str:
    """The rate that meets all of its targets that are ratios to others' drains of this run."""
    prefix = DRAINS.get(row["name"])
    if prefix is None:
        return ""
    ratios = [one for one in targets(found) if one.what.startswith(prefix) and one.found > 0]
    if not ratios:
        return ""
    most = max(value(row, "drain_per_second") / one.found * one.needed for one in ratios)
    return f", where its targets take {most:,.0f}/s"


def _drain_floors(floors: Mapping[str, Any], cores: int, wanted: str) -> Iterator[str]:
    if one := _measured(floors, "drain"):
        server, child = one["server"], one["child"]
        both = server["us"] + child["us"]
        yield _floor(
            f"server {server['us']:,.0f} us + child {child['us']:,.0f} us a no-op = "
            f"{cores * 1e6 / both:,.0f}/s on {cores} cores{wanted}; each alone, {server['runs']:,} runs by "
            f"{server['batch']}: our claim and ending without worker or child, and a warm child fed by hand"
        )
    if one := _measured(floors, "fork"):
        yield _floor(
            f"fork {one['us']:,.0f} us of CPU = {cores * 1e6 / one['us']:,.0f}/s on {cores} cores{wanted}, "
            f"and two processes did {one['per_second']:,.0f}; with Django and the site imported, the child "
            f"exits at once, {one['forks']:,} forks"
        )
    yield from _failures(floors, ("drain", "fork"))


def _start_floors(floors: Mapping[str, Any]) -> Iterator[str]:
    if one := _measured(floors, "start"):
        committed, heard, begun = (_spread(one[name]) for name in ("committed_ms", "heard_ms", "begun_ms"))
        yield _floor(
            f"start {begun} ms: a bare INSERT commits ({committed}), another process hears of it ({heard}), "
            "commits that it has taken the row and sends a byte to a third, which has it then; p50 and p99 "
            f"of {len(one['begun_ms'])} after the same rests"
        )
    yield from _failures(floors, ("start",))


def _bulk_floors(floors: Mapping[str, Any]) -> Iterator[str]:
    if one := _measured(floors, "bulk"):
        function, copy = one["function"], one["copy"]
        yield _floor(
            f"bulk enqueue, the server alone {function['us']:,.0f} us of CPU a row and "
            f"{function['per_second']:,.0f}/s by the same statements with parameters that are there; "
            f"{copy['us']:,.0f} us and {copy['per_second']:,.0f}/s by INSERT ... SELECT of the same rows "
            f"into the same table; {one['rows']:,} rows, {one['rounds']} times each"
        )
    yield from _failures(floors, ("bulk",))


def _measured(floors: Mapping[str, Any], what: str) -> Mapping[str, Any] | None:
    one: Mapping[str, Any] = floors.get(what, {})
    return None if not one or "failure" in one else one


def _failures(floors: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        if failure := floors.get(name, {}).get("failure"):
            yield _floor(f"{name}: not measured, {failure.splitlines()[0]}")


def _spread(values: list[float]) -> str:
    return f"{percentile(values, 50):,.2f}, {percentile(values, 99):,.2f}"


def _floor(said: str) -> str:
    return f"  floor: {said}"
