"""Whether anybody but Django's own logging hears of what becomes of a task.

Building Django's ``TaskResult`` and sending its signals takes most of the time of a short task, and a good
part of that of an enqueue.
"""

from __future__ import annotations

import logging
from typing import Any

from django.dispatch import Signal
from django.tasks import signals as task_signals

#: What Django's own receivers write to.
django_logger = task_signals.logger


def only_django_listens() -> bool:
    """Whether no receiver of the site's own waits for the signals of an attempt."""
    return _sole_receiver(task_signals.task_started, task_signals.log_task_started) and _sole_receiver(
        task_signals.task_finished, task_signals.log_task_finished
    )


def enqueue_is_heard() -> bool:
    """Whether ``task_enqueued`` reaches anybody. Django's own receiver logs at DEBUG."""
    return django_logger.isEnabledFor(logging.DEBUG) or not _sole_receiver(
        task_signals.task_enqueued, task_signals.log_task_enqueued
    )


def _sole_receiver(signal: Signal, own: Any) -> bool:
    # Django keys a receiver by its id and its sender's; a dead weak reference only costs us the short way.
    receivers = signal.receivers
    return len(receivers) == 1 and bool(receivers[0][0][0] == id(own))
