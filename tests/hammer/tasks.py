"""The tasks that leave a witness: a line when the work begins and one when it ends.

Each process appends to a file of its own. A task that makes its process exit says so before it does; one
whose process is killed leaves no second line.
"""

import json
import os
import time
from datetime import UTC, datetime, timedelta

from reproq_django import task

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: The process that the descriptor belongs to, and the descriptor: a fork must not write to its parent's file.
_file = (0, -1)


def _write(*line):
    global _file
    if _file[0] != os.getpid():
        path = f"{os.environ['REPROQ_WITNESS']}.{os.getpid()}.{time.monotonic_ns()}"
        _file = (os.getpid(), os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))
    os.write(_file[1], f"{json.dumps(line)}\n".encode())


def _work(context, number, keys, work_us, fails, exits):
    claimed_us = (context.task_result.last_attempted_at - _EPOCH) // timedelta(microseconds=1)
    # The one moment by both clocks: the database knows the second, only the first never jumps.
    clocks = time.monotonic_ns(), time.time_ns()
    _write("begin", number, context.epoch, context.attempt, os.getpid(), claimed_us, *clocks, keys)
    if work_us:
        time.sleep(work_us / 1e6)
    if context.attempt <= exits:
        _write("end", number, context.epoch, time.monotonic_ns(), "exited")
        os._exit(7)
    failed = context.attempt <= fails
    _write("end", number, context.epoch, time.monotonic_ns(), "raised" if failed else "returned")
    if failed:
        raise ValueError(f"attempt {context.attempt} fails")


@task(takes_context=True, backoff=0.02)
def strike(context, number, keys, work_us, fails, exits):
    """Hold the keys for ``work_us`` microseconds; the first ``fails`` attempts raise, the first ``exits`` end
    the process."""
    _work(context, number, keys, work_us, fails, exits)


@task(takes_context=True, backoff=0.02)
def paced(context, number, keys, work_us, fails, exits):
    """The same, for the task that an operator has set a rate for."""
    _work(context, number, keys, work_us, fails, exits)
