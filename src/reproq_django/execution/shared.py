"""A child that works on several runs at once: coroutines on one event loop, or functions in threads.

The worker hands runs over one by one, as many as there are places, and may ask for one of them to stop
(``cancel``). Each is answered when it ends, in any order (``contracts/executor.md``).
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async

from reproq_django.errors import SoftTimeout, TaskCancelled, TaskInterrupted
from reproq_django.execution import (
    attempt,
    capture,
    envelope,
    frames,
    interrupt,
    observers,
    site,
    streams,
)
from reproq_django.execution.notes import Channel
from reproq_django.listening import only_django_listens
from reproq_django.serialization import MARKER

#: A coroutine that does not give way for so long is named to the worker.
BLOCKED_SECONDS = 5.0

type Key = tuple[str, int]

_key: contextvars.ContextVar[Key | None] = contextvars.ContextVar("reproq_run", default=None)


def work(stream: int) -> int:
    """Work on the runs that come on ``stream`` until it closes; returns the exit code."""
    capture.install()
    return asyncio.run(_Child(stream).work())


class _Child:
    def __init__(self, stream: int) -> None:
        self.stream = stream
        self.reader = frames.FrameReader(stream)
        self.runs: dict[Key, _Run] = {}
        self.channel = Channel(stream)
        self.closed: asyncio.Future[int]
        self.beat = time.monotonic()

    async def work(self) -> int:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(_note_strays)
        self.loop = loop
        self.closed = loop.create_future()
        loop.add_reader(self.stream, self.hear)
        self.tick()
        threading.Thread(target=self.watch, name="reproq-watch", daemon=True).start()
        code = await self.closed
        streams.flush()
        # Whatever is still going on, nobody waits for it, and the process ends now.
        os._exit(code)

    def hear(self) -> None:
        """Take in what has come from the worker."""
        try:
            payloads = self.reader.arrived()
        except (frames.FrameError, OSError) as error:
            if not isinstance(error, ConnectionResetError):
                print(f"reproq: the stream from the worker is broken: {error}", file=sys.__stderr__)
            payloads = None
        if payloads is None:
            self.loop.remove_reader(self.stream)
            self.close()
            return
        for payload in payloads:
            self.take(payload)

    def close(self) -> None:
        """The worker is gone, or wants nothing more."""
        if not self.closed.done():
            self.closed.set_result(0)

    def take(self, payload: bytearray) -> None:
        message = json.loads(payload)
        if message.get("type") == "cancel":
            if found := self.runs.get((message["result_id"], message["epoch"])):
                found.stop(TaskCancelled(interrupt.MESSAGE))
        elif message.get("type") == "run":
            # A stored model is fetched, which must not be done on the event loop.
            new = _Run(self, message, fetches=MARKER.encode() in payload)
            self.runs[new.key] = new
            new.start()

    def say(self, message: dict[str, Any]) -> None:
        self.write(json.dumps(message, separators=(",", ":")).encode("ascii"))

    def write(self, payload: bytes) -> None:
        try:
            self.channel.write(payload)
        except OSError:
            self.loop.call_soon_threadsafe(self.close)

    def answer(self, ended: _Run, text: str) -> None:
        self.runs.pop(ended.key, None)
        result_id, epoch = json.dumps(ended.key[0]), int(ended.key[1])
        printed = "".join(
            f'"{name}":{json.dumps(envelope.clean(words))},'
            for name in ("stdout", "stderr")
            if (words := getattr(ended.captured, name).text())
        )
        head = f'{{"type":"result","result_id":{result_id},"epoch":{epoch},{printed}"envelope":'
        self.write(f"{head}{text}}}".encode("ascii"))

    def tick(self) -> None:
        self.beat = time.monotonic()
        self.loop.call_later(BLOCKED_SECONDS / 10, self.tick)

    def watch(self) -> None:
        """Name the coroutine that keeps the loop, which cannot say so itself: this is a thread."""
        while True:
            time.sleep(BLOCKED_SECONDS / 5)
            kept = time.monotonic() - self.beat
            current = asyncio.current_task(self.loop) if kept > BLOCKED_SECONDS else None
            key = current.get_context().get(_key) if current is not None else None
            if key is not None:
                self.say({"type": "blocked", "result_id": key[0], "epoch": key[1], "seconds": round(kept, 1)})


class _Run:
    """One run in this child."""

    def __init__(self, child: _Child, message: attempt.Run, *, fetches: bool) -> None:
        self.child, self.message, self.fetches = child, message, fetches
        self.key: Key = (message["result_id"], message["epoch"])
        self.captured = capture.Captured()
        self.strays: set[asyncio.Task[Any]] = set()
        self.task: asyncio.Task[Any] | None = None
        self.inner: asyncio.Task[Any] | None = None
        self.thread: threading.Thread | None = None
        #: Why the run was interrupted, last.
        self.why: TaskInterrupted | None = None
        self.alarm: asyncio.TimerHandle | None = None
        self.soft: tuple[float, float] | None = None
        self.lock = threading.Lock()

    def start(self) -> None:
        self.task = self.child.loop.create_task(self.whole(), name=f"reproq run {self.key[0]}")

    async def whole(self) -> None:
        _key.set(self.key)
        _strays.set(self.strays)
        with capture.capturing() as self.captured:
            try:
                async with ThreadSensitiveContext() as context:
                    try:
                        text = await self.outcome()
                    finally:
                        await self.tidy(context)
            except BaseException as error:  # noqa: BLE001 - the executor's boundary, as in run.execute
                text = envelope.failed(error)
        self.child.answer(self, text)

    async def outcome(self) -> str:
        # A site's receivers may use the database, which must not be done on the event loop.
        apart = not only_django_listens()
        channel, extended = self.child.channel, self.extended
        this = await _apart(self.fetches or apart, attempt.begin, self.message, channel, extended)
        if isinstance(this, str):
            return this
        self.arm(this.soft_timeout())
        try:
            value = await self.call(this)
        except BaseException as error:  # noqa: BLE001 - a task may raise anything
            return await _apart(apart, this.raised, self.meaning(error))
        finally:
            self.arm(None)
        return await _apart(apart, this.returned, value)

    def arm(self, soft: tuple[float, float] | None) -> None:
        """Raise ``SoftTimeout`` after ``soft[0]`` seconds; None: not any more."""
        if self.alarm is not None:
            self.alarm.cancel()
        self.soft, self.alarm = soft, None
        if soft is not None:
            message = f"the attempt has taken its soft timeout of {soft[0]:g} s"
            self.alarm = self.child.loop.call_later(soft[0], self.stop, SoftTimeout(message))

    def extended(self, seconds: float) -> None:
        """The hard timeout now ends ``seconds`` from now at the earliest: the soft one moves along."""
        self.child.loop.call_soon_threadsafe(self.rearm, seconds)

    def rearm(self, seconds: float) -> None:
        if self.soft is not None and self.alarm is not None:
            left = 0.0 if self.alarm.cancelled() else self.alarm.when() - self.child.loop.time()
            if (moved := seconds - self.soft[1]) > left:
                self.arm((moved, self.soft[1]))

    async def call(self, this: attempt.Attempt) -> Any:
        if not this.known.is_coroutine:
            return await self.call_in_thread(this)
        self.inner = self.child.loop.create_task(_kept_in(this))
        if self.why is not None:
            self.inner.cancel(self.why)
        try:
            value, error = await self.inner
        finally:
            await self.end_strays()
        if error is not None:
            raise error
        return value

    async def call_in_thread(self, this: attempt.Attempt) -> Any:
        done = self.child.loop.create_future()
        context = contextvars.copy_context()

        def body() -> None:
            outcome: Callable[[], None] | None = None
            while self.thread is not None:
                # An interruption is heard whenever it comes: in the task, or here, and never after this.
                try:
                    if outcome is None:
                        value = this.known.task.func(*this.args, **this.kwargs)
                        outcome = partial(done.set_result, value)
                    with self.lock:
                        _raise_in(threading.get_ident(), None)
                        self.thread = None
                except BaseException as error:  # noqa: BLE001 - a task may raise anything
                    outcome = outcome or partial(done.set_exception, _portable(error))
            try:
                site.close_connections()
            except Exception:  # noqa: BLE001 - a lost database must not keep a result that exists
                observers.complain("cleaning up after a task failed")
            self.child.loop.call_soon_threadsafe(outcome or done.cancel)

        with self.lock:
            self.thread = threading.Thread(target=context.run, args=(body,), daemon=True)
            self.thread.start()
        try:
            return await done
        except _Carried as carried:
            raise carried.error from None

    def stop(self, why: TaskInterrupted) -> None:
        """Have ``why`` raised in the run's code. Who has been cancelled is left to clean up."""
        with self.lock:
            if isinstance(self.why, TaskCancelled):
                return
            self.why = why
            if self.thread is not None and self.thread.ident is not None:
                _raise_in(self.thread.ident, type(why))
                return
        if self.inner is not None:
            self.inner.cancel(why)

    def meaning(self, error: BaseException) -> BaseException:
        """What has ended the call: an interruption reads as what was asked for."""
        if self.why is None or not isinstance(error, (asyncio.CancelledError, type(self.why))):
            return error
        self.why.__cause__ = None if isinstance(error, type(self.why)) else error
        return self.why.with_traceback(error.__traceback__)

    async def end_strays(self) -> None:
        """What the coroutine has started and not waited for ends with it."""
        strays = [stray for stray in self.strays if not stray.done()]
        for stray in strays:
            stray.cancel()
        if strays:
            await asyncio.gather(*strays, return_exceptions=True)

    async def tidy(self, context: ThreadSensitiveContext) -> None:
        """Close what the run's own thread has opened, if it has needed one."""
        if context in SyncToAsync.context_to_thread_executor:
            await sync_to_async(site.close_connections, thread_sensitive=True)()


async def _kept_in(this: attempt.Attempt) -> tuple[Any, BaseException | None]:
    """Call the coroutine. What would end the loop of all is returned instead of raised."""
    try:
        return await this.known.task.func(*this.args, **this.kwargs), None
    except (KeyboardInterrupt, SystemExit, GeneratorExit) as error:
        return None, error


class _Carried(Exception):
    """Carries what a future does not take: StopIteration, and what would end the loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def _portable(error: BaseException) -> BaseException:
    fits = isinstance(error, Exception) and not isinstance(error, StopIteration)
    return error if fits else _Carried(error)


async def _apart[T](apart: bool, function: Callable[..., T], *args: Any) -> T:
    """Call ``function``, in the run's own thread if ``apart``."""
    if apart:
        return await sync_to_async(function, thread_sensitive=True)(*args)
    return function(*args)


_strays: contextvars.ContextVar[set[asyncio.Task[Any]] | None] = contextvars.ContextVar(
    "reproq_strays", default=None
)


def _note_strays(
    loop: asyncio.AbstractEventLoop, coroutine: Any, context: contextvars.Context | None = None, **kwargs: Any
) -> asyncio.Task[Any]:
    """Make a task, and remember whose it is."""
    task = asyncio.Task(coroutine, loop=loop, context=context, **kwargs)
    mine = _strays.get()
    if mine is not None:
        mine.add(task)
        task.add_done_callback(mine.discard)
    return task


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Raise ``error`` in a thread, at its next instruction of Python; ``None`` takes back what was not yet
    raised."""
    raised = None if error is None else ctypes.py_object(error)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)
