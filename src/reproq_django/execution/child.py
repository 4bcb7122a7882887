"""A pool child: reads runs from its stream, works them off in order, answers each with one result."""

from __future__ import annotations

# The bare function: the public one wraps its answer in an enum, and each child of one run calls it six times.
import _signal  # type: ignore[import-not-found]
import contextlib
import json
import os
import signal
import sys
from json.encoder import encode_basestring_ascii
from time import monotonic_ns

from reproq_django.execution import frames, interrupt, prctl, run, site, streams, traces
from reproq_django.execution.attempt import Run
from reproq_django.execution.notes import Channel
from reproq_django.execution.usage import Meter

#: Exit codes: the worker counts a crash when a run was under way.
UNREADABLE_STREAM = 71
LOST_DESCRIPTORS = 74

_parse = json.JSONDecoder().raw_decode
#: Whether this process is a child: what is forked from it has been forked by a task.
_is_child = False
#: Its stream to the worker, when it works on one run at a time.
_stream: int | None = None
#: Set in a process that a task has forked; it must never answer for its parent.
_is_fork = False


def main(
    parent: int, stream: int, stdout: int, stderr: int, *, shared: bool = False, once: bool = False
) -> int:
    """Turn this freshly forked process into a child and work until the stream closes.

    Args:
        parent: process id of the zygote, to notice that it died before we asked to be told.
        stream: the socket to the worker.
        stdout, stderr: where the output of the tasks goes.
        shared: whether it works on several runs at once.
        once: whether it ends after its first run.

    Returns:
        The exit code: 0 when the worker closed the stream, or after a task that has left something behind; 71
        when what the worker sent cannot be read; 74 when a task has closed the descriptors that it must not.
    """
    os.setsid()
    prctl.die_with_parent()
    if os.getppid() != parent:
        return 0
    return start(settle(stream, stdout, stderr), shared=shared, once=once)


def start(stream: int, *, shared: bool, once: bool = False) -> int:
    """Work until ``stream`` closes, in a process that is ready for it; returns what ``main`` does."""
    global _is_child
    _is_child = True
    os.set_inheritable(stream, False)
    reset_signals()
    prctl.adopt_orphans()
    reseed()
    site.close_opened_connections()
    if shared:
        # Imported here: most children never need it.
        from reproq_django.execution import shared as several

        return several.work(stream)
    return _work(stream, once=once)


def reseed() -> None:
    """Give this process random numbers of its own. Python's own generator sees to that by itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def _work(stream: int, *, once: bool) -> int:
    global _stream
    _stream = stream
    reader, channel, outputs = frames.FrameReader(stream), Channel(stream), streams.Outputs()
    meter = Meter(once=once)
    # After an only run nobody comes who would notice what it has changed in this process.
    before = traces.Company() if once else traces.Traces()
    printed = False
    while True:
        try:
            payload = reader.read()
        except frames.FrameError as error:
            print(f"reproq: the stream from the worker is broken: {error}", file=sys.stderr)
            return UNREADABLE_STREAM
        except ConnectionResetError:
            payload = None
        if payload is None:
            return _farewell()
        # Not `loads`: it would guess the encoding and look for white space, which takes as long.
        message, _ = _parse(payload.decode())
        if message.get("type") != "run":
            continue
        if printed and not outputs.wait(stream):
            return 0
        began = monotonic_ns()
        envelope = run.execute(message, meter, channel)
        if _is_fork:
            os._exit(0)
        streams.flush()
        try:
            printed = outputs.waiting()
        except OSError:
            return LOST_DESCRIPTORS
        retire = before.left()
        try:
            took_us = (monotonic_ns() - began) // 1000
            channel.write(result(message, envelope, printed, retire, took_us))
        except (BrokenPipeError, ConnectionResetError):
            return 0
        except OSError:
            return LOST_DESCRIPTORS
        if retire is not None:
            # At once: what a task has left may keep an orderly end waiting.
            return 0
        if once:
            return _farewell()


def _farewell() -> int:
    run.stop_event_loop()
    site.close_opened_connections()
    return 0


def _forked_by_a_task() -> None:
    """In a process that a task forks: the worker must see the end of the stream with this child's end, and
    what a task starts can be terminated as usual."""
    global _is_fork, _stream
    if not _is_child:
        return  # the zygote's own fork
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    if _stream is not None:
        _is_fork = True
        with contextlib.suppress(OSError):
            os.close(_stream)
        _stream = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked_by_a_task)


def result(message: Run, envelope: str, printed: bool, retire: str | None, took_us: int) -> bytes:
    """The frame that answers ``message``, which this process had before it for ``took_us`` microseconds."""
    # The envelope is JSON text already; encoding it as part of an object would mean to parse it first.
    result_id = encode_basestring_ascii(message["result_id"])
    epoch = int(message["epoch"])
    flags = f'"took_us":{took_us},"output":true,' if printed else f'"took_us":{took_us},'
    if retire is not None:
        flags += f'"retire":{json.dumps(retire)},'
    return f'{{"type":"result","result_id":{result_id},"epoch":{epoch},{flags}"envelope":{envelope}}}'.encode(
        "ascii"
    )


def settle(stream: int, stdout: int, stderr: int) -> int:
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


def reset_signals() -> None:
    """Undo the zygote's handlers; stopping stays the worker's decision.

    ``SIGTERM`` is often sent to every process of a service at once. The worker then drains, which only works
    when the children stay alive; it ends them by closing the stream or with ``SIGKILL``. What a task starts
    itself (an exec, or a fork such as ``multiprocessing``) gets the default again, so that it can be
    terminated as usual. ``SIGINT`` is the worker's word to a running task: see ``interrupt``.
    """
    for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGPIPE):
        _signal.signal(number, _signal.SIG_IGN if number == signal.SIGPIPE else _signal.SIG_DFL)
    interrupt.install()
    interrupt.install_timer()
    _signal.signal(signal.SIGTERM, _stay)


def _stay(number: int, frame: object) -> None:
    """Outlive a SIGTERM that was meant for the service as a whole."""
