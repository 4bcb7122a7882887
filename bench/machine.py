"""What /proc says: CPU time, memory, load and what machine this is. Linux only."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import django

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class ProcessTimes:
    """One line of /proc/<pid>/stat."""

    pid: int
    parent: int
    own_seconds: float
    """User and system."""
    reaped_seconds: float
    """Those of the children that it has waited for, and of theirs."""


def processes() -> dict[int, ProcessTimes]:
    """Every process that lives."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:  # ended while we looked
            continue
        own, reaped = (int(fields[11]) + int(fields[12])), (int(fields[13]) + int(fields[14]))
        pid = int(stat.parent.name)
        found[pid] = ProcessTimes(pid, int(fields[1]), own * TICK_SECONDS, reaped * TICK_SECONDS)
    return found


def below(pid: int, all_processes: dict[int, ProcessTimes]) -> set[int]:
    """The descendants of ``pid``."""
    found, grew = {pid}, True
    while grew:
        new = {one.pid for one in all_processes.values() if one.parent in found} - found
        found |= new
        grew = bool(new)
    return found - {pid}


@dataclass(frozen=True, slots=True)
class FamilyCpu:
    """CPU seconds so far."""

    head: float
    descendants: float
    """Those that live and those that have ended."""

    @property
    def total(self) -> float:
        return self.head + self.descendants

    @classmethod
    def of(cls, pid: int) -> Self:
        everyone = processes()
        if pid not in everyone:
            return cls(0.0, 0.0)
        living = [everyone[one] for one in below(pid, everyone)]
        ended = everyone[pid].reaped_seconds
        return cls(
            everyone[pid].own_seconds, ended + sum(one.own_seconds + one.reaped_seconds for one in living)
        )


def pss_mib(pids: Iterable[int]) -> float:
    """Proportional set size: memory that is shared counts in part."""
    kib = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # ended while we looked
            continue
        kib += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kib / 1024


@dataclass(frozen=True, slots=True)
class MachineCpu:
    """CPU seconds of the whole machine since it started."""

    busy: float
    steal: float

    @classmethod
    def now(cls) -> Self:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
        return cls((user + nice + system + irq + softirq) * TICK_SECONDS, steal * TICK_SECONDS)


def load_average() -> tuple[float, float, float]:
    return os.getloadavg()


def description() -> dict[str, Any]:
    """What the figures belong to."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "django": django.get_version(),
        "sqlite_of_python": sqlite3.sqlite_version,
        "git_commit": _git("rev-parse", "--short=12", "HEAD"),
        "git_changes": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "src", "crates")),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
