"""What a child does with a run, done a few times before any is forked.

The interpreter adapts its code to what it does, and keeps that where the code is; modules and caches are
filled when they are first needed. Done here, all children find it in memory. Otherwise each would do it
again, and copy page after page of what it shares with the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading

from django.tasks import Task

from reproq_django import errors, tasks
from reproq_django.execution import attempt, child, frames, observers, run, site, streams, survey, traces
from reproq_django.execution.notes import Channel
from reproq_django.execution.usage import Meter

#: The interpreter adapts what it has done a few times.
_TIMES = 20


def rehearse() -> None:
    """Find the site's tasks and work on a run of our own; leaves nothing but what is remembered.

    For a process with one thread, which sets its signal handlers later.
    """
    for path in survey.task_paths():
        with contextlib.suppress(errors.TaskNotAllowed):
            attempt.resolve(path)
    worker, stream = socket.socketpair()
    with worker, stream:
        for _ in range(_TIMES):
            _begin(stream.fileno())
            _work(worker.fileno(), stream.fileno())


def _begin(stream: int) -> None:
    """What a child does when it has been forked."""
    # Python does this first, and it is the longest.
    getattr(threading, "_after_fork", int)()
    os.close(child.settle(os.dup(stream), os.dup(1), os.dup(2)))
    child.reset_signals()
    child.reseed()
    site.close_opened_connections()


def _work(worker: int, stream: int) -> None:
    message = _run()
    frames.write(worker, json.dumps(message).encode("ascii"))
    reader, channel, outputs = frames.FrameReader(stream), Channel(stream), streams.Outputs()
    meter, alone, before = Meter(once=True), traces.Company(), traces.Traces()
    json.loads((reader.read() or b"").decode())
    envelope = '{"ok":true,"return":null}'
    task = tasks.debug_noop_task
    # Neither a receiver of the site's nor its log hears of this.
    if isinstance(task, Task) and observers.nobody_listens():
        with attempt.known(message["spec"]["task_path"], task):
            envelope = run.execute(message, meter, channel)
    streams.flush()
    outputs.waiting()
    before.left()
    alone.left()
    channel.write(child.result(message, envelope, False, None, 0))
    frames.FrameReader(worker).read()
    run.stop_event_loop()


def _run() -> attempt.Run:
    """As the worker sends it."""
    spec = {"v": 1, "task_path": "reproq_django.execution.rehearsal", "args": [0], "kwargs": {}}
    return run.by_hand("1", 1, spec) | {"type": "run", "epoch": 1, "backend_alias": "default"}
