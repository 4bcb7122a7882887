"""Reads what tasks have witnessed: an attempt per pair of lines, times in nanoseconds of CLOCK_MONOTONIC."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Attempt:
    """One claim that reached its task."""

    number: int
    """Of the run in the plan."""
    epoch: int
    attempt: int
    pid: int
    keys: tuple[str, ...]
    claimed_us: int
    """``last_attempted_at`` as the task was told it, microseconds since 1970."""
    claimed: int
    """The same on the monotonic clock."""
    begin: int
    end: int
    """The task's last line, or when its process was seen to be dead; ``begin`` when neither is known."""
    outcome: str
    """``returned``, ``raised``, ``exited``; ``killed`` when there is no last line."""

    def __str__(self) -> str:
        return (
            f"run {self.number} epoch {self.epoch} pid {self.pid}: claimed {self.claimed / 1e9:.6f}, "
            f"began {self.begin / 1e9:.6f}, {self.outcome} {self.end / 1e9:.6f} ({', '.join(self.keys)})"
        )


def read(witness: Path, deaths: Mapping[int, Iterable[int]]) -> list[Attempt]:
    """All attempts that left a line in the files ``<witness>.*``. ``deaths``: when processes were seen to be
    dead, by pid."""
    paths = sorted(witness.parent.glob(f"{witness.name}.*"))
    lines = [json.loads(line) for path in paths for line in path.read_text().splitlines()]
    return list(attempts(lines, deaths))


def attempts(lines: Iterable[list], deaths: Mapping[int, Iterable[int]]) -> Iterator[Attempt]:
    """Puts the lines together. Raises ValueError for an end without a beginning, or two of one claim."""
    begins: dict[tuple[int, int], list] = {}
    ends: dict[tuple[int, int], list] = {}
    for kind, number, epoch, *rest in lines:
        found = begins if kind == "begin" else ends
        if (number, epoch) in found:
            raise ValueError(f"epoch {epoch} of run {number} has two lines that say {kind}")
        found[number, epoch] = rest
    if orphans := ends.keys() - begins.keys():
        raise ValueError(f"without a beginning there is an end of (run, epoch) {sorted(orphans)[:5]}")
    # Between its two readings a process may have to wait; the least distance is the true one.
    apart = min((real - begin for _, _, _, begin, real, _ in begins.values()), default=0)
    for (number, epoch), (attempt, pid, claimed_us, begin, _, keys) in begins.items():
        end, outcome = ends.get((number, epoch)) or _killed(begin, deaths.get(pid, ()))
        claimed = claimed_us * 1000 - apart
        yield Attempt(
            number, epoch, attempt, pid, tuple(keys), claimed_us, claimed, begin, end, outcome
        )  # fmt: skip


def _killed(begin: int, deaths: Iterable[int]) -> tuple[int, str]:
    return min((death for death in deaths if death >= begin), default=begin), "killed"
