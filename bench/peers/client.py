"""A process of a peer's site: ``python -m bench.peers.client <module of the site>``. It takes orders on its
standard input and answers on its standard output, a line of JSON each.

``prepare``: make the site's tables. ``ping``: nothing. ``left``: how many of so many are not done.
``for``: enqueue one by one as fast as it goes for so long. ``bulk``: enqueue so many at once.
``single``: so often, or for so long, wait until nothing is under way, rest, enqueue.
``paced``: enqueue so many a second. The latter two answer with number, time before the call (nanoseconds
since the epoch) and its nanoseconds.
"""

import asyncio
import inspect
import json
import os
import random
import sys
import time
from collections.abc import Coroutine, Iterator
from importlib import import_module
from typing import Any

import django

from bench.peers.work import RECORD

#: Random, so that no rhythm of ours meets one of a worker's.
GAP_SECONDS = (0.005, 0.1)
#: A single task that is not seen by then counts as lost.
SEEN_SECONDS = 30

type Entry = tuple[int, int, int]


class Orders:
    """What can be ordered. Coroutines, for sites that enqueue so; for others they never wait."""

    def __init__(self, site: Any) -> None:
        self._site = site
        self.is_async = bool(getattr(site, "ASYNC", False))

    async def open(self) -> None:
        if self.is_async:
            await self._site.opened()

    async def ping(self) -> bool:
        return True

    async def prepare(self) -> bool:
        """Sites that enqueue in an event loop migrate in a thread: Django refuses to do it beside one."""
        if self.is_async:
            await asyncio.to_thread(_migrate)
        else:
            _migrate()
        if hasattr(self._site, "prepare"):
            await self._done(self._site.prepare())
        return True

    async def left(self, total: int) -> int:
        return int(await self._done(self._site.left(total)))

    async def for_(self, kind: str, base: int, seconds: float) -> dict[str, float]:
        enqueue, count = self._site.enqueue, 0
        began = time.perf_counter()
        end = began + seconds
        while time.perf_counter() < end:
            called = enqueue(kind, base + count)
            if self.is_async:
                await called
            count += 1
        return {"count": count, "seconds": time.perf_counter() - began}

    async def bulk(self, kind: str, base: int, count: int) -> dict[str, float]:
        began = time.perf_counter()
        await self._done(self._site.bulk(kind, range(base, base + count)))
        return {"count": count, "seconds": time.perf_counter() - began}

    async def single(self, kind: str, base: int, count: int, seconds: float) -> list[Entry]:
        gaps, seen, end = random.Random(base), _seen(), time.monotonic() + seconds
        entries: list[Entry] = []
        for number in range(base, base + count):
            if entries and time.monotonic() > end:
                break
            entries.append(await self._enqueue(kind, number))
            deadline = time.monotonic() + SEEN_SECONDS
            while _seen() < seen + len(entries) and time.monotonic() < deadline:
                await self._rest(0.002)
            await self._rest(gaps.uniform(*GAP_SECONDS))
        return entries

    async def paced(self, kind: str, base: int, count: int, per_second: float) -> list[Entry]:
        entries, began = [], time.perf_counter()
        for number in range(count):
            early = began + number / per_second - time.perf_counter()
            if early > 0:
                await self._rest(early)
            entries.append(await self._enqueue(kind, base + number))
        return entries

    async def _enqueue(self, kind: str, number: int) -> Entry:
        began, start = time.time_ns(), time.perf_counter_ns()
        await self._done(self._site.enqueue(kind, number))
        return number, began, time.perf_counter_ns() - start

    async def _done(self, called: Any) -> Any:
        return await called if inspect.isawaitable(called) else called

    async def _rest(self, seconds: float) -> None:
        if self.is_async:
            await asyncio.sleep(seconds)
        else:
            time.sleep(seconds)


def _migrate() -> None:
    from django.core.management import call_command

    from bench.peers import work
    from bench.peers.notes.models import Note

    call_command("migrate", run_syncdb=True, verbosity=0)
    Note.objects.bulk_create([Note() for _ in range(work.NOTES)])


def _seen() -> int:
    """How many tasks have begun so far."""
    try:
        return os.stat(os.environ["REPROQ_BENCH_WITNESS"]).st_size // RECORD.size
    except FileNotFoundError:
        return 0


async def _follow(orders: Orders, lines: Iterator[str]) -> None:
    await orders.open()
    while line := await asyncio.to_thread(next, lines, "") if orders.is_async else next(lines, ""):
        order = json.loads(line)
        do = order.pop("do")
        answer = await getattr(orders, "for_" if do == "for" else do)(**order)
        _answers.write(f"{json.dumps(answer)}\n")


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Runs what never waits, without an event loop: Django would not let its ORM be used beside one."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise RuntimeError("a site that is not ASYNC has waited")


if __name__ == "__main__":
    # What libraries print is not an answer.
    _answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    django.setup()
    chosen = Orders(import_module(sys.argv[1]))
    followed = _follow(chosen, iter(sys.stdin))
    if chosen.is_async:
        asyncio.run(followed)
    else:
        _run(followed)
    # Some libraries' threads would go on.
    _answers.flush()
    os._exit(0)
