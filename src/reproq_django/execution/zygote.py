"""The zygote: imports the site once, then forks a warm child whenever the worker asks for one.

It opens no database connection, starts no thread and runs no task. Its only friend is the control socket, an
``AF_UNIX`` ``SOCK_SEQPACKET`` pair of which the worker holds the other end; packets are listed in
``contracts/executor.md``. When that end closes, however it came to that, every child dies with the zygote.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import platform
import select
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from reproq_django.execution import mappings, pages, site, streams, survey

#: Requests are small; a packet of this size would already be a mistake.
MAX_PACKET_BYTES = 64 * 1024
#: The kernel limits a packet by the socket's send buffer; a traceback has to fit.
MAX_TRACEBACK_CHARACTERS = 32 * 1024

_encode = json.JSONEncoder(separators=(",", ":")).encode
# Between two forks each page that the zygote writes to is copied, so what it does for each child goes through
# few functions and objects: not ``loads``, which would guess the encoding, nor ``recv_fds``, nor an encoder
# for numbers, nor members of enums, nor, in what happens each time, ``suppress``.
_parse = json.JSONDecoder().raw_decode
#: For up to 8 descriptors.
_DESCRIPTORS_SPACE = socket.CMSG_LEN(8 * 4)
_CUT_SHORT = int(socket.MSG_CTRUNC)
_SIGKILL = int(signal.SIGKILL)


def serve(control_fd: int, reserved: list[bytes], *, once: bool) -> int:
    """Run the zygote until the worker closes its end; returns the exit code.

    Args:
        control_fd: our end of the control socket.
        reserved: what ``pages.reserve`` has returned.
        once: whether each child is for one run, so that there will be many.
    """
    control = socket.socket(fileno=control_fd)
    control.setblocking(True)
    control.set_inheritable(False)
    try:
        packets = _load(reserved, once=once)
    except BaseException as error:  # noqa: BLE001 - whatever a site can raise while it is imported has to reach the operator
        text = "".join(survey.story(error))[-MAX_TRACEBACK_CHARACTERS:]
        message = f"{type(error).__name__}: {error}"[:1000]
        with contextlib.suppress(OSError):
            failed = {"type": "failed", "message": message, "traceback": text}
            _send(control, failed | {"source_roots": survey.source_roots(error)})
        return 1
    # Imported now that models can be.
    from reproq_django.execution import child

    zygote = _Zygote(control, child.main)
    try:
        for packet in packets:
            _send(control, packet)
        zygote.loop()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the worker died while we were talking to it: the same end as a closed socket
    finally:
        zygote.kill_children()
    return 0


def _load(reserved: list[bytes], *, once: bool) -> list[dict[str, Any]]:
    """Import the site and get ready to fork; returns the packets that say so, ``ready`` last."""
    # It was the worker's word for this process, to the dynamic linker: what the site starts is none of it.
    if os.environ.get("LD_BIND_NOW") == "reproq":
        del os.environ["LD_BIND_NOW"]
    before = survey.open_descriptors()
    site.load()
    import django

    import reproq_django

    unsafe = survey.why_unsafe(before)
    if unsafe is not None:
        print(f"reproq: {unsafe}; forked children would not have them to themselves", file=sys.stderr)
    else:
        _get_ready(once=once)
    # Only now: what ends in the midst of a huge page is part of one nevertheless.
    reserved.clear()
    # A site that starts threads while it is imported is warned about once, above, not at each fork.
    warnings.filterwarnings("ignore", message=".*multi-threaded.*", category=DeprecationWarning)
    ready = {
        "type": "ready",
        "pid": os.getpid(),
        "python": platform.python_version(),
        "django": django.get_version(),
        "version": reproq_django.__version__,
        "source_roots": survey.source_roots(),
    }
    if unsafe is not None:
        ready["unsafe"] = unsafe
    return [*survey.task_packets(), ready]


def _get_ready(*, once: bool) -> None:
    """Have in memory what children need, and as much as possible of it shared with them for good."""
    # Late: it has nothing to do with a site that cannot be forked.
    from reproq_django.execution import immortal, rehearsal

    rehearsal.rehearse()
    # A site may have frozen what it had; what the collector does not see cannot be made ready.
    gc.unfreeze()
    gc.collect()
    # Once more: the collector has emptied caches that each child would fill for itself.
    rehearsal.rehearse()
    # Out of the collector's sight and uncounted, pages stay unwritten and shared.
    immortal.immortalize()
    gc.freeze()
    pages.collapse()
    if once:
        mappings.join()


def _send(control: socket.socket, packet: dict[str, Any]) -> None:
    control.send(_encode(packet).encode("ascii"))


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """What came with a packet."""
    return [
        descriptor
        for level, kind, data in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
        for descriptor in memoryview(data).cast("i")
    ]


class _Zygote:
    """The loop and what it knows: the control socket, the living children, and what a child does."""

    def __init__(self, control: socket.socket, work: Callable[..., int]) -> None:
        self.control = control
        self.work = work
        self.children: set[int] = set()
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)
        signal.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        # A handler has to exist, or the kernel's default leaves nothing for the wakeup descriptor. Stopping
        # is the worker's decision alone: a terminal or service manager that signals the whole group must not
        # cut a drain short.
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, _only_wake)
        self.poll = select.poll()
        for descriptor in (control.fileno(), self.wake_read):
            self.poll.register(descriptor, select.POLLIN)

    def loop(self) -> None:
        """Answer the worker and report dead children until the worker's end closes."""
        while True:
            for descriptor, _ in self.poll.poll():
                if descriptor == self.wake_read:
                    try:  # noqa: SIM105 - see `_parse`
                        os.read(self.wake_read, 4096)
                    except BlockingIOError:
                        pass
                    self.reap()
                elif not self.answer():
                    return

    def answer(self) -> bool:
        """Take one packet; ``False`` when the worker is gone."""
        data, ancillary, flags, _ = self.control.recvmsg(MAX_PACKET_BYTES, _DESCRIPTORS_SPACE)
        descriptors = _descriptors(ancillary)
        try:
            if not data:
                return False
            request, _ = _parse(data.decode())
            if request.get("type") == "fork":
                self.fork(request, descriptors, cut_short=bool(flags & _CUT_SHORT))
            return True
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def fork(self, request: dict[str, Any], descriptors: list[int], *, cut_short: bool) -> None:
        """Fork one child that owns the three ``descriptors``: stream, stdout, stderr."""
        token = request["token"]
        if cut_short or len(descriptors) != 3:
            message = f"a fork needs three descriptors, {len(descriptors)} arrived"
            _send(self.control, {"type": "fork_failed", "token": token, "message": message})
            return
        streams.flush()
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            _send(self.control, {"type": "fork_failed", "token": token, "message": str(error)})
            return
        if pid == 0:
            self.become_child(parent, descriptors, shared="shared" in request, once="once" in request)
        self.children.add(pid)
        self.control.send(b'{"type":"forked","token":%d,"pid":%d}' % (token, pid))

    def become_child(self, parent: int, descriptors: list[int], *, shared: bool, once: bool) -> NoReturn:
        """A child's first moments: let go of all that is the zygote's, then work until the stream ends."""
        code = 70  # EX_SOFTWARE: nothing below was expected to raise
        try:
            signal.set_wakeup_fd(-1)
            os.close(self.control.detach())
            os.close(self.wake_read)
            os.close(self.wake_write)
            code = self.work(parent, *descriptors, shared=shared, once=once)
        except BaseException:  # noqa: BLE001 - a child must never return into the zygote's loop
            traceback.print_exc()
        finally:
            streams.flush()
            os._exit(code)

    def reap(self) -> None:
        """Report each child that ended; only ours are waited for, a site may keep subprocesses of its own."""
        for pid in tuple(self.children):
            try:
                if hasattr(os, "waitid"):
                    if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                        continue
                    # What a task has left in its session goes with its child; until the child is reaped, the
                    # number is certainly its own.
                    _kill_group(pid)
                ended, status, usage = os.wait4(pid, os.WNOHANG)
            except ChildProcessError:
                ended, status, usage = pid, 0, None
            if ended == 0:
                continue
            self.children.discard(pid)
            self.control.send(
                b'{"type":"exited","pid":%d,"status":%d,"max_rss_kib":%d}' % (pid, status, _rss_kib(usage))
            )

    def kill_children(self) -> None:
        """Kill the process group of every child; each leads its own."""
        for pid in self.children:
            # Just after the fork the child may not lead a group yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, _SIGKILL)
            _kill_group(pid)


def _kill_group(leader: int) -> None:
    try:  # noqa: SIM105 - see `_parse`
        os.killpg(leader, _SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _rss_kib(usage: Any) -> int:
    if usage is None:
        return 0
    # macOS counts bytes where Linux counts KiB.
    return int(usage.ru_maxrss) // 1024 if sys.platform == "darwin" else int(usage.ru_maxrss)


def _only_wake(number: int, frame: object) -> None:
    """Do nothing: the wakeup descriptor has already told the loop."""
