"""A site with an empty database of its own, and the worker that is started on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from django.db import connections
from django.test import override_settings

from bench.machine import ROOT, below, processes
from bench.server import Server
from reproq_django.models import TaskRun
from reproq_django.schema import apply_schema

#: The alias of the site's database in this process; the worker's site calls it ``default``.
ALIAS = "bench"
START_SECONDS = 60
STOP_SECONDS = 40


class BenchError(Exception):
    """Something did not work; there is nothing to measure."""


@dataclass(frozen=True, slots=True)
class Mode:
    """How the worker runs tasks."""

    executor: str
    """``pool``, ``fork`` or ``process``."""
    concurrency: int

    def __str__(self) -> str:
        return f"{self.executor}, {self.concurrency}"


class Site:
    """What a measurement works with."""

    def __init__(
        self, server: Server, mode: Mode, database: dict[str, Any], url: str, folder: Path, alias: str
    ) -> None:
        self.server, self.mode, self.url, self.folder, self.alias = server, mode, url, folder, alias
        #: What makes a process of its own one of this site's.
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONDONTWRITEBYTECODE", "REPROQ_LOG", "RUST_LOG")
        } | {
            "DJANGO_SETTINGS_MODULE": "bench.site_settings",
            "REPROQ_BENCH_DATABASE": json.dumps(database),
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        }

    def runs(self, **where: Any) -> Any:
        """The runs, straight from the table."""
        return TaskRun.objects.using(self.alias).filter(**where)

    @property
    def connection(self) -> Any:
        """This process's own."""
        return connections[self.alias]

    def execute(self, sql: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(sql)

    @contextmanager
    def worker(self, *flags: str) -> Iterator[Worker]:
        """A worker that is ready for work; stopped at the end."""
        worker = Worker(self, flags)
        try:
            worker.wait_until_ready()
            yield worker
        finally:
            worker.stop()


@contextmanager
def new_site(server: Server, mode: Mode, folder: Path, alias: str = ALIAS) -> Iterator[Site]:
    """A site with an empty queue; its folder must exist and be its own.

    What this process enqueues goes to the latest of its sites.
    """
    database, url = server.new_database()
    connections.databases[alias] = connections.configure_settings({"default": dict(database)})["default"]
    try:
        with override_settings(REPROQ_DEFAULT_DB_ALIAS=alias):
            apply_schema(connections[alias])
            yield Site(server, mode, database, url, folder, alias)
    finally:
        connections[alias].close()
        del connections[alias]
        del connections.databases[alias]


class Worker:
    """One process of ``reproq worker``, with its defaults but for what the mode and ``more`` flags say."""

    def __init__(self, site: Site, more: tuple[str, ...]) -> None:
        self._log = site.folder / "worker.log"
        environment = site.environment | {
            "DATABASE_URL": site.url,
            "REPROQ_PYTHON_BIN": sys.executable,
            "ALLOWED_TASK_MODULES": "bench.tasks",
        }
        flags = ["--executor-mode", site.mode.executor, "--concurrency", str(site.mode.concurrency), *more]
        self.spawned_at = time.time()
        self.ready_at = 0.0
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [os.environ["REPROQ_WORKER_BIN"], "worker", *flags],
                env=environment,
                cwd=site.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self) -> None:
        started = until(
            lambda: b"worker started" in self._log.read_bytes() or self._process.poll() is not None,
            seconds=START_SECONDS,
            pause=0.002,
        )
        if not started or self._process.poll() is not None:
            raise BenchError(f"the worker did not start:\n{self._said()}")
        self.ready_at = time.time()

    def children(self) -> set[int]:
        """Every process below the worker."""
        return below(self.pid, processes())

    def stop(self) -> None:
        """As a service manager would."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise BenchError(f"the worker did not stop:\n{self._said()}") from None

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-4000:]


class Client:
    """Another process of the site: see ``bench.client``."""

    def __init__(self, site: Site) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.client"],
            env=site.environment,
            cwd=site.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its input is its end.
        self._process.communicate()

    def order(self, what: str) -> None:
        """Its answer comes when it has done that."""
        assert self._process.stdin
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise BenchError("a client has ended, see above")
        return line.strip()


def until(condition: Callable[[], Any], *, seconds: float, pause: float) -> bool:
    """Whether the condition became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True
