"""A pool child: reads runs from its stream, works them off in order, answers each with one result."""

from __future__ import annotations

import ctypes
import json
import os
import random
import signal
import sys

from reproq_django.execution import frames, interrupt, run, site, streams

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(parent: int, stream: int, stdout: int, stderr: int) -> int:
    """Turn this freshly forked process into a child and work until the stream closes.

    Args:
        parent: process id of the zygote, to notice that it died before we asked to be told.
        stream: the socket to the worker.
        stdout, stderr: where the output of the tasks goes.

    Returns:
        The exit code: 0 when the worker closed the stream, 71 when what it sent cannot be read.
    """
    os.setsid()
    if not _die_with(parent):
        return 0
    stream = _settle(stream, stdout, stderr)
    _reset_signals()
    random.seed()
    site.close_connections()
    try:
        return _work(stream)
    finally:
        run.stop_event_loop()
        site.close_connections()


def _work(stream: int) -> int:
    reader = frames.FrameReader(stream)
    while True:
        try:
            payload = reader.read()
        except frames.FrameError as error:
            print(f"reproq: the stream from the worker is broken: {error}", file=sys.stderr)
            return 71
        except ConnectionResetError:
            return 0
        if payload is None:
            return 0
        message = json.loads(payload)
        if message.get("type") != "run":
            continue
        envelope = run.execute(message)
        streams.flush()
        try:
            frames.write(stream, _result(message, envelope))
        except (BrokenPipeError, ConnectionResetError):
            return 0


def _result(message: run.Run, envelope: str) -> bytes:
    # The envelope is JSON text already; encoding it as part of an object would mean to parse it first.
    result_id = json.dumps(message["result_id"])
    epoch = int(message["epoch"])
    return f'{{"type":"result","result_id":{result_id},"epoch":{epoch},"envelope":{envelope}}}'.encode(
        "ascii"
    )


def _die_with(parent: int) -> bool:
    """Ask the kernel to kill this process when the zygote dies; ``False`` when it is dead already.

    And to make it the parent of what its tasks have started and left to its fate: as long as the child lives,
    that stays below it. Linux only. Elsewhere the zygote's own farewell (``kill_children``) and the closed
    stream have to do.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        for name, option, value in (
            ("PR_SET_PDEATHSIG", PR_SET_PDEATHSIG, int(signal.SIGKILL)),
            ("PR_SET_CHILD_SUBREAPER", PR_SET_CHILD_SUBREAPER, 1),
        ):
            if libc.prctl(option, value, 0, 0, 0) != 0:
                print(f"reproq: prctl({name}): {os.strerror(ctypes.get_errno())}", file=sys.stderr)
    return os.getppid() == parent


def _settle(stream: int, stdout: int, stderr: int) -> int:
    """Put the three descriptors in their places and return the stream's."""
    # Passed descriptors may have landed on 0 to 2 if the zygote was started without them: move all out of the
    # way first.
    kept = [_above_standard(descriptor) for descriptor in (stream, stdout, stderr)]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(kept[1], 1)
    os.dup2(kept[2], 2)
    for descriptor in (null, kept[1], kept[2]):
        if descriptor > 2:
            os.close(descriptor)
    os.set_inheritable(kept[0], False)
    os.set_blocking(kept[0], True)
    return kept[0]


def _above_standard(descriptor: int) -> int:
    if descriptor > 2:
        return descriptor
    return _above_standard(os.dup(descriptor))


def _reset_signals() -> None:
    """Undo the zygote's handlers; stopping stays the worker's decision.

    ``SIGTERM`` is often sent to every process of a service at once. The worker then drains, which only works
    when the children stay alive; it ends them by closing the stream or with ``SIGKILL``. What a task starts
    itself (an exec, or a fork such as ``multiprocessing``) gets the default again, so that it can be
    terminated as usual. ``SIGINT`` is the worker's word to a running task: see ``interrupt``.
    """
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGPIPE else signal.SIG_DFL)
    interrupt.install()
    signal.signal(signal.SIGTERM, _stay)
    os.register_at_fork(after_in_child=_default_termination)


def _stay(number: int, frame: object) -> None:
    """Outlive a SIGTERM that was meant for the service as a whole."""


def _default_termination() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
