"""A peer at work in a place of its own: its database, its address, its client processes, its worker."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from bench.peers import brokers
from bench.peers.peer import Peer
from bench.peers.processes import Family
from bench.peers.witness import Witness
from bench.site import BenchError

#: What would make a run another one than it says.
FORGOTTEN = ("PYTHONDONTWRITEBYTECODE", "REPROQ_LOG", "RUST_LOG", "DATABASE_URL", "VIRTUAL_ENV")


class Place:
    """An empty queue of a peer."""

    def __init__(
        self, peer: Peer, places: brokers.Places, broker: brokers.Broker | None, folder: Path, **how: bool
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.peer, self.places, self.folder = peer, places, folder
        self._database, url = places.new(peer, **how)
        self.site: dict[str, Any] = {"database": self._database, "url": url}
        self.site |= broker.address() if broker else {}
        self.witness = Witness(places.witness())

    @property
    def database(self) -> str:
        return str(self._database["NAME"])

    @property
    def environment(self) -> dict[str, str]:
        said = {
            "database": self._database,
            "apps": self.peer.apps,
            "settings": self.peer.settings(self.site),
        }
        kept = {name: value for name, value in os.environ.items() if name not in FORGOTTEN}
        return (
            kept
            | {
                "DJANGO_SETTINGS_MODULE": "bench.peers.settings",
                "REPROQ_BENCH_SITE": json.dumps(said),
                "REPROQ_BENCH_WITNESS": str(self.witness.path),
                "PYTHONPATH": self.peer.path,
            }
            | self.peer.variables(self.site)
        )

    @contextmanager
    def client(self) -> Iterator[Client]:
        with Client(self) as client:
            yield client

    @contextmanager
    def clients(self, count: int) -> Iterator[list[Client]]:
        """Several at a time, all of them ready."""
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(self)) for _ in range(count)]
            for client in clients:
                client.order("ping")
            for client in clients:
                client.answer()
            yield clients

    @contextmanager
    def worker(self) -> Iterator[Worker]:
        worker = Worker(self)
        try:
            yield worker
        finally:
            worker.ended_in_time = worker.family.stop()


class Client:
    """A process of the site, see ``bench.peers.client``."""

    def __init__(self, place: Place) -> None:
        self._log = place.folder / "client.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(place.peer.python), "-m", "bench.peers.client", place.peer.site_module],
                env=place.environment,
                cwd=place.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its input is its end.
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def order(self, do: str, **what: Any) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps({"do": do} | what) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise BenchError(f"a client has ended:\n{self._said()}") from None

    def answer(self) -> Any:
        assert self._process.stdout
        if not (line := self._process.stdout.readline()):
            raise BenchError(f"a client has ended:\n{self._said()}")
        return json.loads(line)

    def ask(self, do: str, **what: Any) -> Any:
        self.order(do, **what)
        return self.answer()

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


class Worker:
    """The processes that run the tasks."""

    def __init__(self, place: Place) -> None:
        self.spawned_at = time.time()
        self.ended_in_time = True
        commands = place.peer.commands(place.site)
        self.family = Family(commands, place.environment, place.folder, place.folder / "worker.log")


def prepared(peer: Peer, places: brokers.Places, broker: brokers.Broker | None, folder: Path) -> Place:
    """A new place with the site's tables in it."""
    if peer.on_sqlite:
        place = Place(peer, places, broker, folder)
        _migrate(place)
        return place
    if peer.name not in places.prepared:
        _migrate(Place(peer, places, broker, folder / "template", as_template=True))
        places.prepared.add(peer.name)
    return Place(peer, places, broker, folder)


def _migrate(place: Place) -> None:
    with place.client() as client:
        client.ask("prepare")
