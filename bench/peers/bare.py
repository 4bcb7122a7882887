"""Starts and forks with nothing of a queue but what none can do without, as processes of their own:
``python -m bench.peers.bare <what> <arguments>`` prints a line of JSON.

``starts postgres|sqlite <address> <count>``: one process commits a row; another one hears of it, at once, and
commits that the row is its own; a third one gets a byte from that one, and could begin. Three nanoseconds of
each start, all since before the INSERT: its end, the second process's, the third's.
``forks <module of the site> <count>``: forks of a process that has imported the site, one after another, that
exit at once. Their CPU, the forking process's included, and how long that took.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import resource
import select
import signal
import sqlite3
import struct
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any, Protocol

import django
import psycopg

from bench.peers.client import GAP_SECONDS
from reproq_django.execution import pages

#: The first are not told: connections, caches and prepared statements are new.
WARM = 10
#: A row, when the second process heard of it, when the third one could begin.
RECORD = struct.Struct("<qqq")
NUMBER = struct.Struct("<q")


class Store(Protocol):
    """One process's connection to a table with one index, its key's."""

    def prepare(self) -> None: ...

    def enqueue(self, number: int, wake: int) -> None:
        """Commits a row, and says so to whoever listens: on ``wake`` where the database cannot."""
        ...

    def wait(self, wake: int) -> list[int]:
        """Rows of which this process has just heard; none: ``wake`` has ended."""
        ...

    def claim(self, number: int) -> None:
        """Commits that the row is this process's own."""
        ...


class Postgres:
    def __init__(self, address: str) -> None:
        self._connection = psycopg.connect(address, autocommit=True)

    def prepare(self) -> None:
        self._connection.execute("CREATE TABLE bare (number BIGINT PRIMARY KEY, taken BOOLEAN)")

    def listen(self) -> None:
        self._connection.execute("LISTEN bare")

    def enqueue(self, number: int, wake: int) -> None:
        self._connection.execute(
            "WITH new AS (INSERT INTO bare (number) VALUES (%s) RETURNING number) "
            "SELECT pg_notify('bare', number::text) FROM new",
            (number,),
            prepare=True,
        )

    def wait(self, wake: int) -> list[int]:
        server = self._connection.pgconn
        while True:
            if wake in select.select([server.socket, wake], [], [])[0]:
                return []
            server.consume_input()
            if notice := server.notifies():
                return [int(notice.extra)]

    def claim(self, number: int) -> None:
        self._connection.execute("UPDATE bare SET taken = TRUE WHERE number = %s", (number,), prepare=True)


class Sqlite:
    """Nobody polls: who has committed writes to a pipe of who waits."""

    def __init__(self, address: str) -> None:
        self._connection = sqlite3.connect(address, isolation_level=None, timeout=20)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = FULL")

    def prepare(self) -> None:
        self._connection.execute("CREATE TABLE bare (number INTEGER PRIMARY KEY, taken BOOLEAN)")

    def listen(self) -> None:
        pass

    def enqueue(self, number: int, wake: int) -> None:
        self._connection.execute("INSERT INTO bare (number) VALUES (?)", (number,))
        os.write(wake, NUMBER.pack(number))

    def wait(self, wake: int) -> list[int]:
        return [number for (number,) in NUMBER.iter_unpack(os.read(wake, NUMBER.size))]

    def claim(self, number: int) -> None:
        self._connection.execute("UPDATE bare SET taken = TRUE WHERE number = ?", (number,))


STORES: dict[str, Callable[[str], Any]] = {"postgres": Postgres, "sqlite": Sqlite}


def starts(kind: str, address: str, count: int) -> list[tuple[int, int, int]]:
    """Each of the others ends when the one before it has."""
    (woken, wake), (handed, hand), (told, tell) = os.pipe(), os.pipe(), os.pipe()
    others = [
        _forked(lambda: _listener(STORES[kind], address, woken, hand), (wake, handed, told, tell)),
        _forked(lambda: _beginner(handed, tell), (woken, wake, hand, told)),
    ]
    for descriptor in (woken, handed, hand, tell):
        os.close(descriptor)
    try:
        return _timed(STORES[kind](address), count, wake, told)
    finally:
        os.close(wake)
        for pid in others:
            os.waitpid(pid, 0)


def _timed(store: Store, count: int, wake: int, told: int) -> list[tuple[int, int, int]]:
    gaps, found = random.Random(count), []
    store.prepare()
    os.write(wake, NUMBER.pack(0))
    _told(told)
    for number in range(1, WARM + count + 1):
        time.sleep(gaps.uniform(*GAP_SECONDS))
        began = time.monotonic_ns()
        store.enqueue(number, wake)
        called = time.monotonic_ns()
        heard, begun = _told(told)
        found.append((called - began, heard - began, begun - began))
    return found[WARM:]


def _told(descriptor: int) -> tuple[int, int]:
    record = os.read(descriptor, RECORD.size)
    if not record:
        raise SystemExit("a process of the start has ended, see above")
    _, heard, begun = RECORD.unpack(record)
    return heard, begun


def _listener(store_at: Callable[[str], Any], address: str, wake: int, hand: int) -> None:
    # From here on there is a table.
    if not os.read(wake, NUMBER.size):
        return
    store = store_at(address)
    store.listen()
    os.write(hand, RECORD.pack(0, 0, 0))
    while numbers := store.wait(wake):
        for number in numbers:
            heard = time.monotonic_ns()
            store.claim(number)
            os.write(hand, RECORD.pack(number, heard, 0))


def _beginner(handed: int, tell: int) -> None:
    while record := os.read(handed, RECORD.size):
        begun = time.monotonic_ns()
        number, heard, _ = RECORD.unpack(record)
        os.write(tell, RECORD.pack(number, heard, begun))


def _forked(work: Callable[[], None], others: tuple[int, ...]) -> int:
    """A process that closes the descriptors of ``others``, works and ends."""
    if pid := os.fork():
        return pid
    try:
        for descriptor in others:
            os.close(descriptor)
        # Who has closed a pipe wants no answer any more.
        with contextlib.suppress(BrokenPipeError):
            work()
    except BaseException:  # noqa: BLE001 - it must never return into what has forked it
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def forks(module: str, count: int) -> dict[str, float]:
    # As in our own, which is the cheapest: pages stay unwritten and shared, and are few.
    reserved = pages.reserve()
    django.setup()
    import_module(module)
    gc.collect()
    gc.freeze()
    pages.collapse()
    reserved.clear()
    for _ in range(WARM):
        _fork()
    cpu, clock = _cpu_seconds(), time.monotonic()
    for _ in range(count):
        _fork()
    return {"cpu_seconds": _cpu_seconds() - cpu, "seconds": time.monotonic() - clock, "forks": count}


def _fork() -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)


def _cpu_seconds() -> float:
    """Of this process and of those that it has waited for."""
    spent = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in spent)


if __name__ == "__main__":
    # Who is told to end waits for those that it has forked.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    match sys.argv[1:]:
        case ["starts", kind, address, count]:
            answer: object = starts(kind, address, int(count))
        case ["forks", module, count]:
            answer = forks(module, int(count))
        case _:
            raise SystemExit(__doc__)
    print(json.dumps(answer), flush=True)
