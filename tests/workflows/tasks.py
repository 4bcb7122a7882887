"""The tasks that leave a witness: a line when the work begins and one when it ends, a file per process."""

import json
import os
import time

from reproq_django import task
from reproq_django.errors import Discard

#: The process that the descriptor belongs to, and the descriptor: a fork must not write to its parent's file.
_file = (0, -1)


def _write(*line):
    global _file
    if _file[0] != os.getpid():
        path = f"{os.environ['REPROQ_WITNESS']}.{os.getpid()}.{time.monotonic_ns()}"
        _file = (os.getpid(), os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644))
    os.write(_file[1], f"{json.dumps(line)}\n".encode())


def _work(context, value, fails):
    run = int(context.task_result.result_id)
    _write("begin", run, context.epoch, time.monotonic_ns())
    if fails:
        raise Discard("this one is to fail")
    _write("end", run, context.epoch, time.monotonic_ns())
    return value


@task(takes_context=True, backoff=0.02, max_attempts=1000)
def member(context, number, fails=False):
    """Returns ``number``, or fails for good."""
    return _work(context, number, fails)


@task(takes_context=True, backoff=0.02, max_attempts=1000)
def link(context, number, before, fails=False):
    """Returns ``number`` behind all that came before it in its chain."""
    return _work(context, [*(before or []), number], fails)


@task(takes_context=True, backoff=0.02, max_attempts=1000)
def callback(context, results):
    """Returns what it was given."""
    return _work(context, results, False)


@task(takes_context=True, backoff=0.02, max_attempts=1000)
def mourn(context, number):
    """Runs when a workflow has failed."""
    return _work(context, number, False)
