"""A site with a database of its own, and real workers on it: processes of the built binary, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from django.db import connections
from django.test import override_settings

from reproq_django.models import TaskRun
from reproq_django.schema import apply_schema

ROOT = Path(__file__).parent.parent.parent
#: The alias of the test's own database in the test process; the worker's site calls it ``default``.
ALIAS = "e2e"
OPEN = ("READY", "RUNNING", "WAITING")


def until(condition: Callable[[], Any], *, seconds: float = 30, what: str = "") -> Any:
    """The condition's first true value. ``seconds`` is what a slow machine may take."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or condition}"
        time.sleep(0.01)
    return value


class Site:
    """One database with Reproq's schema, a witness file that tasks write, and the workers started on it."""

    def __init__(self, database: dict[str, Any], url: str, folder: Path, binary: Path) -> None:
        self.database, self.url, self.folder, self.binary = database, url, folder, binary
        self.witness = folder / "witness"
        self.workers: list[Worker] = []

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgres")

    def runs(self, **where: Any) -> Any:
        """The runs, straight from the table."""
        return TaskRun.objects.using(ALIAS).filter(**where)

    def run(self, result: Any) -> TaskRun:
        return self.runs().get(pk=result.result_id)

    def ended(self, *, seconds: float = 60) -> None:
        """Wait until nothing is left to do."""
        until(lambda: not self.runs(status__in=OPEN).exists(), seconds=seconds, what="all runs end")

    def lines(self, prefix: str = "") -> list[str]:
        """What tasks have witnessed."""
        if not self.witness.exists():
            return []
        return [line for line in self.witness.read_text().splitlines() if line.startswith(prefix)]

    def environment(self, **more: str) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        return environment | {
            "REPROQ_DATABASE_URL": self.url,
            "DJANGO_SETTINGS_MODULE": "e2e_settings",
            "REPROQ_E2E_DATABASE": json.dumps(self.database),
            "REPROQ_PYTHON_BIN": sys.executable,
            "REPROQ_WITNESS": str(self.witness),
            "REPROQ_LOG": "debug",
            "PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in ("src", "tests", "tests/e2e")),
            "ALLOWED_TASK_MODULES": "testapp,reproq_django",
            **more,
        }

    @contextmanager
    def worker(self, *flags: str, **environment: str) -> Iterator[Worker]:
        """A worker that is ready for work; stopped at the end, unless the test has ended it."""
        worker = Worker(self, flags, environment)
        self.workers.append(worker)
        try:
            worker.wait_until_ready()
            yield worker
        finally:
            worker.end()


@contextmanager
def new_site(server: str | None, folder: Path, binary: Path) -> Iterator[Site]:
    """A site with an empty queue, on a database of its own: of the PostgreSQL server with this URL, else a
    file in ``folder``. Its workers are stopped at the end."""
    with _new_database(server, folder) as (database, url):
        connections.databases[ALIAS] = connections.configure_settings({"default": dict(database)})["default"]
        with override_settings(REPROQ_DEFAULT_DB_ALIAS=ALIAS):
            apply_schema(connections[ALIAS])
            site = Site(database, url, folder, binary)
            yield site
            for worker in site.workers:
                worker.end()
            forget_connection()
            del connections[ALIAS]
            del connections.databases[ALIAS]


@contextmanager
def _new_database(server: str | None, folder: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """An entry for Django's DATABASES, and the worker's DSN."""
    if server is None:
        name = str(folder / "site.sqlite3")
        options = {"transaction_mode": "IMMEDIATE", "timeout": 20}
        yield {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": options}, f"sqlite://{name}"
        return
    name = f"site_{os.getpid()}_{abs(hash(folder))}"
    _sql(server, f"CREATE DATABASE {name}")
    address = urlsplit(server)
    yield {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "HOST": address.hostname,
        "PORT": str(address.port),
        "USER": address.username,
    }, address._replace(path=f"/{name}").geturl()  # fmt: skip
    _sql(server, f"DROP DATABASE {name} WITH (FORCE)")


def _sql(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(statement.encode())


class Worker:
    """One process of ``reproq worker``."""

    def __init__(self, site: Site, flags: tuple[str, ...], environment: dict[str, str]) -> None:
        self.log = site.folder / f"worker-{len(site.workers)}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [site.binary, "worker", "--worker-id", f"worker-{len(site.workers)}", *flags],
                env=site.environment(**environment),
                cwd=site.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        until(
            lambda: "worker started" in self.said or self.process.poll() is not None,
            seconds=60,
            what="the worker starts",
        )
        assert self.process.poll() is None, self.said

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def exit_code(self, *, seconds: float = 40) -> int:
        return self.process.wait(seconds)

    def family(self) -> set[int]:
        """Every process below the worker."""
        return self._below(_living())

    def guard(self) -> int:
        """The process between the worker and everything that it runs."""
        parents = _living()
        return next(pid for pid in self._below(parents) if parents[pid] == self.process.pid)

    def zygotes(self) -> set[int]:
        """The processes that have imported the site and fork children."""
        parents = _living()
        return {pid for pid in self._below(parents) if _serves(pid) and not _serves(parents[pid])}

    def children(self) -> set[int]:
        """The warm children, forks of a zygote."""
        parents = _living()
        return {pid for pid in self._below(parents) if _serves(pid) and _serves(parents[pid])}

    def zombies(self) -> set[int]:
        """The dead that nobody below the worker, nor itself, has reaped."""
        above = {self.process.pid, *self.family()}
        return {pid for pid, (state, parent) in _processes().items() if state == "Z" and parent in above}

    def _below(self, parents: dict[int, int]) -> set[int]:
        return _below(self.process.pid, parents)

    def end(self) -> None:
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"the worker did not stop:\n{self.said[-4000:]}") from None


def family_of(pid: int) -> set[int]:
    """Every process below this one."""
    return _below(pid, _living())


def _below(pid: int, parents: dict[int, int]) -> set[int]:
    found, grew = {pid}, True
    while grew:
        grew = bool(new := {pid for pid, parent in parents.items() if parent in found} - found)
        found |= new
    return found - {pid}


def _processes() -> dict[int, tuple[str, int]]:
    """The state and the parent of every process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # ended while we looked
            continue
        found[int(stat.parent.name)] = fields[0], int(fields[1])
    return found


def _living() -> dict[int, int]:
    """The parent of every process that is no zombie."""
    return {pid: parent for pid, (state, parent) in _processes().items() if state != "Z"}


def _serves(pid: int) -> bool:
    try:
        return b"--serve" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def alive(pids: set[int]) -> set[int]:
    """Those that still exist, zombies aside."""
    living = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            living.add(pid)
    return living


def forget_connection() -> None:
    """Close the test's own connection to its database."""
    connections[ALIAS].close()


class Marked:
    """A worker whose processes can be told from all others, whoever their parents are."""

    def __init__(self, site: Site, stack: ExitStack, *flags: str, **environment: str) -> None:
        self.mark = f"REPROQ_TEST_MARK={uuid.uuid4().hex}".encode()
        name, value = self.mark.decode().split("=")
        self.worker: Worker = stack.enter_context(site.worker(*flags, **{name: value}, **environment))

    def left(self) -> set[int]:
        """Everything that the worker has started and that lives, itself aside."""
        found = set()
        for environ in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark in environ.read_bytes():
                    found.add(int(environ.parent.name))
            except OSError:  # ended while we looked
                continue
        return alive(found) - {self.worker.process.pid}

    def kill(self) -> None:
        self.worker.signal(signal.SIGKILL)
        self.worker.exit_code()
