"""Bars as SVG, by hand: a logarithmic axis, ours in another colour, a whisker for least and most. The text
has the page's own colour where the page says so, and stays legible on light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from bench.peers.figures import Row, is_ours, rows, value

WIDTH, LEFT, RIGHT, TOP, STEP, BAR = 880, 250, 90, 56, 24, 15
OURS, OTHERS = "#0b7285", "#adb5bd"
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.t{font-weight:600;font-size:15px}.s{fill:#57606a}"
    "line{stroke:#8c959f;stroke-width:1}.g{stroke:#8c959f55}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.s{fill:#9da7b1}}"
)


@dataclass(frozen=True, slots=True)
class Plot:
    file: str
    title: str
    figure: str
    unit: str
    digits: int
    most_first: bool = True
    """Whether more is better."""


PLOTS = (
    Plot("drain.svg", "No-ops a second, two worker processes or children", "drain_per_second", "/s", 0),
    Plot("start.svg", "Idle worker: ms from enqueue to start, p50", "starts_idle_p50", "ms", 2, False),
    Plot("start-loaded.svg", "At half load: ms to start, p99", "starts_loaded_p99", "ms", 1, False),
    Plot("enqueue.svg", "Enqueues a second, one loop", "enqueue_per_second", "/s", 0),
    Plot("bulk.svg", "Bulk enqueue, tasks a second", "bulk_enqueue_per_second", "/s", 0),
    Plot("cpu.svg", "CPU ms per no-op: worker, its children, database and broker", "cpu_ms", "ms", 2, False),
    Plot("memory.svg", "Idle worker with its children, MiB (PSS)", "idle_pss_mib", "MiB", 0, False),
)  # fmt: skip


def draw(found: Mapping[str, Any]) -> dict[str, str]:
    """SVG by file name."""
    peers = list(rows(found).values())
    plots = {plot.file: _bars(plot, peers) for plot in PLOTS}
    if growth := found.get("growth"):
        plots["growth.svg"] = _growth(growth)
    return plots


def _bars(plot: Plot, peers: Sequence[Row]) -> str:
    shown = [row for row in peers if value(row, plot.figure) > 0]
    shown.sort(key=lambda row: value(row, plot.figure) * (-1 if plot.most_first else 1))
    bars = [Bar(row["title"], row["figures"][plot.figure], OURS if is_ours(row) else OTHERS) for row in shown]
    return _chart(plot.title, bars, plot.unit, plot.digits)


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    figures: Mapping[str, float]
    colour: str


def _growth(growth: Mapping[str, Any]) -> str:
    bars = [Bar(f"{one['database']}, {one['axis']}: {one['case']}", one, OURS) for one in growth["cases"]]
    return _chart("Reproq as things grow: no-ops a second", bars, "/s", 0)


def _chart(title: str, bars: Sequence[Bar], unit: str, digits: int) -> str:
    height = TOP + STEP * len(bars) + 16
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}"><style>{STYLE}</style>'
        f'<text class="t" x="12" y="22">{escape(title)}</text>'
    )
    parts = [head]
    if bars:
        axis = _Axis.of(bars)
        for power in range(axis.low, axis.high + 1):
            x = axis.place(10.0**power)
            parts.append(f'<line class="g" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{height - 10}"/>')
            parts.append(
                f'<text class="s" x="{x:.1f}" y="{TOP - 10}" text-anchor="middle">{10.0**power:,g}</text>'
            )
        for number, bar in enumerate(bars):
            parts += _bar(bar, axis, TOP + STEP * number, unit, digits)
    return "\n".join([*parts, "</svg>", ""])


@dataclass(frozen=True, slots=True)
class _Axis:
    low: int
    high: int

    @classmethod
    def of(cls, bars: Sequence[Bar]) -> _Axis:
        values = [
            bar.figures[part] for bar in bars for part in ("min", "median", "max") if bar.figures[part] > 0
        ]
        low = math.floor(math.log10(min(values)))
        return cls(low, max(low + 1, math.ceil(math.log10(max(values)))))

    def place(self, figure: float) -> float:
        share = (math.log10(max(figure, 10.0**self.low)) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)


def _bar(bar: Bar, axis: _Axis, y: int, unit: str, digits: int) -> list[str]:
    middle, least, most = (bar.figures[part] for part in ("median", "min", "max"))
    end, centre = axis.place(middle), y + BAR / 2
    said = f"{middle:,.{digits}f} {unit}".replace(" /", "/")
    rest = f'height="{BAR}" rx="2" fill="{bar.colour}"/>'
    return [
        f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(bar.label)}</text>',
        f'<rect x="{LEFT}" y="{y}" width="{max(1.0, end - LEFT):.1f}" {rest}',
        f'<line x1="{axis.place(least):.1f}" x2="{axis.place(most):.1f}" y1="{centre}" y2="{centre}"/>',
        f'<text x="{max(end, axis.place(most)) + 6:.1f}" y="{y + 12}">{escape(said)}</text>',
    ]
