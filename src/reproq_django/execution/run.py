"""One attempt that has its process to itself: call the task, let it be interrupted, say how it ended.

Both modes of the executor come through ``execute``. It never raises: whatever a task does, short of ending
the process, becomes an envelope (``contracts/executor.md``).
"""

from __future__ import annotations

import contextvars
import os
import time
from typing import Any

from reproq_django.execution import attempt, envelope, interrupt, loop, memory, observers, site
from reproq_django.execution.attempt import Run
from reproq_django.execution.notes import Channel
from reproq_django.execution.usage import Meter


def execute(run: Run, meter: Meter, channel: Channel | None = None) -> str:
    """Run one attempt and return its envelope as JSON text.

    Args:
        run: the ``run`` message of the contract; in mode ``process`` the same keys, as far as they are known.
        meter: counts what the attempt uses.
        channel: where the notes of the run go; None: nowhere.
    """
    interrupt.install()
    try:
        # A context of its own: what a task leaves in context variables (Django's language and time zone are
        # such) ends with it.
        text: str = contextvars.copy_context().run(_attempt, run, channel)
    except BaseException as error:  # noqa: BLE001 - the executor's boundary: SystemExit and the like end a task, not us
        text = envelope.failed(error)
    finally:
        _tidy()
    return envelope.with_usage(text, meter.take())


def by_hand(result_id: str, number: int, spec: dict[str, Any]) -> Run:
    """The run of mode ``process``, where only the spec and two numbers are known."""
    now = time.time_ns() // 1000
    return {
        "result_id": result_id,
        "attempt": number,
        "worker_id": os.environ.get("WORKER_ID", ""),
        "started_at": now,
        "last_attempted_at": now,
        "worker_ids": [],
        "errors": [],
        "metadata": {},
        "spec": spec,
    }


def _attempt(run: Run, channel: Channel | None) -> str:
    this = attempt.begin(run, channel, interrupt.extend)
    if isinstance(this, str):
        return this
    known = this.known
    call = loop.call if known.is_coroutine else interrupt.call
    try:
        if known.max_memory_bytes is None:
            value = call(known.task.func, this.args, this.kwargs, this.soft_timeout())
        else:
            value = memory.capped(
                known.max_memory_bytes, call, known.task.func, this.args, this.kwargs, this.soft_timeout()
            )
    except BaseException as error:  # noqa: BLE001 - a task may raise anything; see execute
        return this.raised(error)
    return this.returned(value)


def stop_event_loop() -> None:
    """Close the event loop of this process, if a coroutine has run."""
    loop.stop()


def _tidy() -> None:
    """Leave no connection of this attempt in a state that the next one would notice."""
    try:
        # A query may have been cut off half-way: the next run gets fresh connections.
        if interrupt.happened():
            site.close_connections()
        else:
            site.tidy_connections()
        loop.tidy_threads()
    except Exception:  # noqa: BLE001 - a lost database must not turn a result that exists into a dead child
        observers.complain("cleaning up after a task failed")
