"""How peers on PostgreSQL drain when a million tasks wait: their tables filled by SQL, a worker, the witness.

Ours is measured so by ``growth``, with its empty table in the same rounds. The others are compared with the
drain of the same run. Triggers are off while a table is filled: nobody listens, and some would write a
notification or an event for each row.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.peers import brokers, worker
from bench.peers.peer import Backlog, Peer
from bench.peers.worker import Place
from bench.site import BenchError, until

#: The clock starts when so many have begun, and stops after so many more or so long.
SKIPPED = 20
SECONDS = 3.0
FIRST_SECONDS = 60


def run(peers: Sequence[Peer], rows: int) -> dict[str, Any]:
    """Tasks a second, by peer; for a peer that does not work so, ``failure``."""
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        places = brokers.Places(stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="reproq-bench-")))
        for peer in peers:
            if peer.backlog is None:
                continue
            began = time.monotonic()
            try:
                place = worker.prepared(peer, places, None, folder / peer.name)
                _fill(place, peer.backlog, rows)
                found[peer.name] = {"rows": rows, "per_second": _drained(place)}
            except BenchError as error:
                found[peer.name] = {"rows": rows, "failure": str(error)}
            places.drop()
            print(f"{peer.name}: {found[peer.name]}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return found


def _fill(place: Place, backlog: Backlog, rows: int) -> None:
    with place.client() as client:
        client.ask("bulk", kind="noop", base=0, count=1)
    places, name = place.places, place.database
    column, number = backlog.number
    key, value = backlog.key
    others = places.columns(backlog.table, name, besides=(column, key))
    named = f"{key}, " if value else ""
    valued = f"{value}, " if value else ""
    places.execute(
        "SET session_replication_role = replica; "
        f"INSERT INTO {backlog.table} ({named}{column}, {others}) SELECT {valued}{number}, {others} "
        f"FROM generate_series(1, {rows - 1}) AS n, (SELECT * FROM {backlog.table} LIMIT 1) AS one",
        name,
    )
    places.execute("VACUUM ANALYZE", name)
    places.checkpoint()


def _drained(place: Place) -> float:
    witness = place.witness
    with place.worker() as working:

        def begun(count: int) -> bool:
            return witness.count() >= count or not working.family.is_alive()

        until(lambda: begun(SKIPPED), seconds=FIRST_SECONDS, pause=0.005)
        if witness.count() >= SKIPPED:
            until(lambda: not working.family.is_alive(), seconds=SECONDS, pause=0.05)
        if not working.family.is_alive():
            raise BenchError(f"its worker has ended by itself:\n{working.family.said()}")
    times = sorted(witness.starts().values())
    if len(times) <= SKIPPED + 1:
        raise BenchError(f"{len(times)} tasks have begun in {FIRST_SECONDS} s")
    last = next(
        (index for index, at in enumerate(times) if at > times[SKIPPED] + SECONDS * 1e9), len(times) - 1
    )
    return (last - SKIPPED) / ((times[last] - times[SKIPPED]) / 1e9)
