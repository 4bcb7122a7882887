"""Parts of ours with nothing around them: what the server takes for a claim and an ending, or for rows that
are enqueued at once, and what a warm child takes for runs that somebody hands to it.

The runs are real: enqueued by the product, read back from its table.
"""

from __future__ import annotations

import json
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.tasks import default_task_backend

from bench import claims
from bench.peers import brokers
from bench.peers.processes import scheduled_seconds
from bench.peers.sites.django_tasks import TASKS
from bench.peers.worker import Place
from bench.site import BenchError, Mode, Site, new_site
from reproq_django.execution import frames
from reproq_django.statements import statement

#: About what a worker that drains claims at once, ends at once and hands to a child at once.
BATCH = 100
#: Batches that are not counted: statements and code are new.
WARM = 10
WAIT_SECONDS = 20
#: About what a child takes for a batch.
REST_SECONDS = 0.008
#: No worker is started here.
MODE = Mode("pool", BATCH)


@contextmanager
def site_of(places: brokers.Places) -> Iterator[Site]:
    with (
        tempfile.TemporaryDirectory(prefix="reproq-bench-site-") as folder,
        new_site(places.postgres, MODE, Path(folder)) as site,
    ):
        yield site


def enqueued(site: Site, places: brokers.Places, count: int) -> list[tuple[str, Any]]:
    """Enqueues no-ops; the statements that did it, with their parameters."""
    done: list[tuple[str, Any]] = []
    insert = statement("postgresql", "insert_runs")

    def keep(execute: Any, sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if sql == insert:
            done.append((sql, parameters))
        return execute(sql, parameters, many, context)

    with site.connection.execute_wrapper(keep):
        default_task_backend.bulk_enqueue([(TASKS["noop"], (number,)) for number in range(count)])
    site.execute("ANALYZE")
    places.checkpoint()
    return done


def claims_and_endings(binary: Path, site: Site, places: brokers.Places, count: int) -> dict[str, float]:
    """Of the runs that wait, ``count`` and some before them."""
    with claims.Claimer(binary, [site.url], BATCH) as claimer:
        claimer.rounds(0, WARM)
        before, began = places.cpu_seconds(), time.monotonic()
        rounds = claimer.rounds(0, count // BATCH)
        seconds, spent = time.monotonic() - began, places.cpu_seconds() - before
    runs = sum(claimed for _, claimed in rounds)
    if runs != count // BATCH * BATCH:
        raise BenchError(f"{runs} of {count} runs were claimed")
    return {"us": spent / runs * 1e6, "runs": runs, "batch": BATCH, "per_second": runs / seconds}


def rows_at_once(
    site: Site, places: brokers.Places, statements: list[tuple[str, Any]], rounds: int
) -> dict[str, Any]:
    """The same rows once more into the emptied table, from parameters that are there: by the statements that
    enqueued them, and by one that knows no more than the table and its indexes.
    """
    name = site.connection.settings_dict["NAME"]
    columns = places.columns("task_runs", name, besides=("result_id",))
    site.execute("CREATE TABLE bench_rows AS SELECT * FROM task_runs ORDER BY result_id")
    copies = [(f"INSERT INTO task_runs ({columns}) SELECT {columns} FROM bench_rows", None)]
    rows = site.runs().count()
    ways = {"function": statements, "copy": copies}
    spent = dict.fromkeys(ways, 0.0)
    seconds = dict.fromkeys(ways, 0.0)
    with psycopg.connect(site.url, autocommit=True) as connection:
        for number in range(rounds + 1):
            for way, orders in ways.items():
                connection.execute("TRUNCATE task_runs CASCADE")
                places.checkpoint()
                before, began = places.cpu_seconds(), time.monotonic()
                with connection.transaction():
                    for sql, parameters in orders:
                        connection.execute(sql, parameters)
                # The first is not counted: the session's plans are new.
                if number:
                    seconds[way] += time.monotonic() - began
                    spent[way] += places.cpu_seconds() - before
    return {
        way: {"us": spent[way] / rows / rounds * 1e6, "per_second": rows * rounds / seconds[way]}
        for way in ways
    } | {"rows": rows, "rounds": rounds}


def runs_in_a_child(place: Place, site: Site, count: int) -> dict[str, float]:
    """A warm child of a zygote, driven as the worker does it; its own CPU. ``place`` says which site."""
    with site.connection.cursor() as cursor:
        cursor.execute(f"SELECT spec_json::text FROM task_runs LIMIT {WARM * BATCH + count}")
        specs = [spec for (spec,) in cursor.fetchall()]
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    log = place.folder / "zygote.log"
    with ours, log.open("ab") as said:
        ours.settimeout(WAIT_SECONDS)
        with theirs:
            zygote = subprocess.Popen(
                [str(place.peer.python), "-m", "reproq_django.executor", "--serve", str(theirs.fileno())],
                env=place.environment,
                cwd=place.folder,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            return _driven(ours, said.fileno(), specs)
        except OSError as error:
            said_last = log.read_text(errors="replace")[-3000:]
            raise BenchError(f"a child alone: {type(error).__name__}: {error}\n{said_last}") from None
        finally:
            # The end of its control socket is its end, and its children's.
            ours.close()
            try:
                zygote.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:
                zygote.kill()
                zygote.wait()


def _driven(control: socket.socket, output: int, specs: list[str]) -> dict[str, float]:
    _packet(control, "ready")
    stream, theirs = socket.socketpair()
    with stream, theirs:
        # A blocking descriptor, which gives up all the same.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", WAIT_SECONDS, 0))
        reader = frames.FrameReader(stream.fileno())
        order = json.dumps({"type": "fork", "token": 1}).encode()
        socket.send_fds(control, [order], [theirs.fileno(), output, output])
        pid = int(_packet(control, "forked")["pid"])
        theirs.close()
        before, began = 0.0, time.monotonic()
        for first in range(0, len(specs), BATCH):
            if first == WARM * BATCH:
                before, began = scheduled_seconds([pid]), time.monotonic()
            batch = specs[first : first + BATCH]
            stream.sendall(b"".join(_frame(first + index, spec) for index, spec in enumerate(batch)))
            # Who waits for each answer would have the child wake it, each time.
            time.sleep(REST_SECONDS)
            for _ in batch:
                _succeeded(reader.read())
        spent, seconds = scheduled_seconds([pid]) - before, time.monotonic() - began
    runs = len(specs) - WARM * BATCH
    return {"us": spent / runs * 1e6, "runs": runs, "batch": BATCH, "per_second": runs / seconds}


def _packet(control: socket.socket, kind: str) -> dict[str, Any]:
    """The next of a kind."""
    while data := control.recv(1 << 20):
        packet: dict[str, Any] = json.loads(data)
        if packet["type"] == kind:
            return packet
        if packet["type"].endswith("failed"):
            raise BenchError(f"a child alone: {packet['message']}")
    raise ConnectionError("the zygote has ended")


def _frame(number: int, spec: str) -> bytes:
    now = time.time_ns() // 1000
    run = {
        "type": "run",
        "result_id": str(number),
        "epoch": 1,
        "attempt": 1,
        "worker_id": "bench",
        "backend_alias": "default",
        "enqueued_at": now,
        "started_at": now,
        "last_attempted_at": now,
        "worker_ids": ["bench"],
        "errors": [],
        "metadata": {},
    }
    # The spec is the stored text, untouched.
    return frames.encode(f'{json.dumps(run)[:-1]},"spec":{spec}}}'.encode())


def _succeeded(payload: bytearray | None) -> None:
    if payload is None:
        raise ConnectionError("the child has ended")
    if b'"ok":true' not in payload:
        raise BenchError(f"a run failed in a child alone: {payload.decode()[:1000]}")
