"""Reproq, this checkout: the release binary, two slots, everything else at its defaults.

That is fenced leases, results, signals, timeouts and cancellation on, fsync and synchronous_commit as the
database has them. ``--concurrency 2`` for two children; coroutines share one of them, as they do by default.
CONN_MAX_AGE=None, as for the other backends of Django: else each task that queries opens a connection. On
SQLite: WAL, synchronous=FULL, and Django takes the write lock at BEGIN, as the README says.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import ROOT
from bench.peers.peer import OURS, Peer, Site, kept_connections

MODES = ("pool", "fork", "process")
ISOLATION = {"pool": "slot", "fork": "task", "process": "task"}
PACE = {"pool": 15_000, "fork": 300, "process": 4}


@dataclass(frozen=True)
class Reproq(Peer):
    mode: str = "pool"
    slots: int = 2

    @property
    def python(self) -> Path:
        return OURS

    @property
    def path(self) -> str:
        return os.pathsep.join([str(ROOT / "src"), str(ROOT)])

    def settings(self, site: Site) -> dict[str, Any]:
        backend = {"BACKEND": "reproq_django.backend.ReproqBackend"}
        return {"TASKS": {"default": backend}, "DATABASES": kept_connections(site)}

    def variables(self, site: Site) -> dict[str, str]:
        return {
            "DATABASE_URL": site["url"],
            "REPROQ_PYTHON_BIN": str(OURS),
            "ALLOWED_TASK_MODULES": "bench.peers.sites.django_tasks",
        }

    def commands(self, site: Site) -> Sequence[Sequence[str]]:
        flags = ["--executor-mode", self.mode, "--concurrency", str(self.slots)]
        return [[os.environ["REPROQ_WORKER_BIN"], "worker", *flags]] * self.processes


def ours(mode: str, stores: str, *, slots: int = 2, processes: int = 1) -> Reproq:
    """One of our modes on one of our databases."""
    return Reproq(
        name=f"reproq-{mode}-{stores}",
        title=f"Reproq {mode}, {'PostgreSQL' if stores == 'postgres' else 'SQLite'}",
        stores=stores,
        module="reproq",
        apps=("reproq_django",),
        isolation=ISOLATION[mode],
        pace=PACE[mode],
        mode=mode,
        slots=slots,
        processes=processes,
    )


PEERS = tuple(ours(mode, stores) for mode in MODES for stores in ("postgres", "sqlite"))
