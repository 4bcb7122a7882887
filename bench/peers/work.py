"""What the tasks do, for every peer the same, and what each leaves at the witness.

A task appends its number and the time of its first line to a file in memory, which costs a microsecond or
two. What is missing there was lost, what is there twice ran twice, whatever a peer says of itself.
"""

import asyncio
import os
import struct
import time

#: A task's number, and nanoseconds since the epoch.
RECORD = struct.Struct("<qq")
REST_SECONDS = 0.01
CPU_NANOSECONDS = 5_000_000
#: Rows that ``orm`` reads and writes.
NOTES = 100

_witness: int | None = None


def mark(number: int) -> None:
    """One write each, and appended: processes and threads do not meet in it."""
    global _witness
    now = time.time_ns()
    if _witness is None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        _witness = os.open(os.environ["REPROQ_BENCH_WITNESS"], flags)
    os.write(_witness, RECORD.pack(number, now))


def noop(number: int) -> int:
    mark(number)
    return number


def rest(number: int) -> int:
    """Wait for something, in a thread or process of its own."""
    mark(number)
    time.sleep(REST_SECONDS)
    return number


def cpu(number: int) -> int:
    """Compute for so much of this thread's own time, however busy the machine is."""
    mark(number)
    end = time.thread_time_ns() + CPU_NANOSECONDS
    while time.thread_time_ns() < end:
        pass
    return number


def orm(number: int) -> int:
    """Read a row and write it."""
    from bench.peers.notes.models import Note

    mark(number)
    note = Note.objects.get(pk=number % NOTES + 1)
    note.written = number
    note.save(update_fields=["written"])
    return number


async def async_rest(number: int) -> int:
    """Wait for something, beside others where the peer can."""
    mark(number)
    await asyncio.sleep(REST_SECONDS)
    return number


def async_rest_alone(number: int) -> int:
    """The same for peers whose tasks are plain functions."""
    return asyncio.run(async_rest(number))


SYNC = {"noop": noop, "rest": rest, "cpu": cpu, "orm": orm, "async_rest": async_rest_alone}
"""For peers that only know plain functions."""
KINDS = tuple(SYNC)


async def async_noop(number: int) -> int:
    return noop(number)


async def async_cpu(number: int) -> int:
    return cpu(number)


async def async_of_rest(number: int) -> int:
    return await asyncio.to_thread(rest, number)


async def async_of_orm(number: int) -> int:
    return await asyncio.to_thread(orm, number)


ASYNC = {
    "noop": async_noop,
    "rest": async_of_rest,
    "cpu": async_cpu,
    "orm": async_of_orm,
    "async_rest": async_rest,
}
"""For peers that run coroutines in their own event loop: what blocks goes to a thread, as it would be written
there.
"""
