"""Samples in, one row of figures per peer out. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

from bench.report import percentile

LISTS = ("starts_idle", "starts_loaded", "enqueue_calls")
PERCENTS = (50, 95, 99)

type Row = dict[str, Any]
"""Of one peer: what it is, and ``figures`` by name with median, min, max."""


def rows(found: Mapping[str, Any]) -> dict[str, Row]:
    """By name, in the order of the catalogue; peers that never worked have no figures."""
    return {about["name"]: _row(found, about) for about in found["peers"]}


def _row(found: Mapping[str, Any], about: Mapping[str, Any]) -> Row:
    samples = found["samples"].get(about["name"], [])
    names = {name: None for sample in samples for name in sample["figures"]}
    figures: dict[str, dict[str, float]] = {}
    for name in names:
        values = [sample["figures"][name] for sample in samples if name in sample["figures"]]
        figures[name] = {"median": median(values), "min": min(values), "max": max(values)}
    for name in LISTS:
        values = [value for sample in samples for value in sample[name]]
        # The spread of a percentile is that over the repetitions; its value that of all single tasks.
        for percent in PERCENTS:
            each = [percentile(sample[name], percent) for sample in samples if sample[name]]
            if values:
                spread = {"min": min(each), "max": max(each)}
                figures[f"{name}_p{percent}"] = {"median": percentile(values, percent)} | spread
    return dict(about) | {
        "figures": figures,
        "repetitions": len(samples),
        "lost": sum(sample["lost"] for sample in samples),
        "repeated": sum(sample["repeated"] for sample in samples),
        "notes": sorted({note for sample in samples for note in sample["notes"]}),
        "failures": found["failures"].get(about["name"], []),
    }


def value(row: Row | None, name: str) -> float:
    """The median; NaN when it was not measured."""
    if row is None or name not in row["figures"]:
        return math.nan
    return float(row["figures"][name]["median"])


def is_ours(row: Row) -> bool:
    return str(row["name"]).startswith("reproq-")


def is_sound(found: Mapping[str, Any]) -> bool:
    """Whether ours was measured, and ran every task once."""
    ours = [row for row in rows(found).values() if is_ours(row)]
    return all(row["repetitions"] and not (row["lost"] or row["repeated"] or row["failures"]) for row in ours)
