"""The states of a run, spelled once for Python. ``crates/reproq-model`` holds the transitions between
them."""

from __future__ import annotations

from typing import Final

from django.db.models import TextChoices
from django.tasks.base import TaskResultStatus


class RunStatus(TextChoices):
    """``task_runs.status``."""

    READY = "READY", "Ready"
    RUNNING = "RUNNING", "Running"
    # Waits for another run (chain, chord).
    WAITING = "WAITING", "Waiting"
    SUCCESSFUL = "SUCCESSFUL", "Successful"
    FAILED = "FAILED", "Failed"
    CANCELLED = "CANCELLED", "Cancelled"


class WorkflowStatus(TextChoices):
    """``workflow_runs.status``."""

    RUNNING = "RUNNING", "Running"
    # Written by the earlier system only.
    WAITING_CALLBACK = "WAITING_CALLBACK", "Waiting for its callback"
    SUCCESSFUL = "SUCCESSFUL", "Successful"
    FAILED = "FAILED", "Failed"
    # Somebody cancelled it as a whole.
    CANCELLED = "CANCELLED", "Cancelled"


class WorkflowPolicy(TextChoices):
    """``workflow_runs.policy``: what a member that has failed does to the runs that wait for it."""

    FAIL = "fail", "They fail as well"
    CONTINUE = "continue", "They start all the same"


class CatchUp(TextChoices):
    """``periodic_tasks.catch_up``: what becomes of ticks that came while no scheduler looked."""

    NONE = "none", "Nothing"
    LATEST = "latest", "The latest is made up for"
    ALL = "all", "All are made up for, up to a limit"


class Overlap(TextChoices):
    """``periodic_tasks.overlap``: what becomes of a tick while an earlier run has not ended."""

    ALLOW = "allow", "Both run"
    SKIP = "skip", "The tick is skipped"
    QUEUE_ONE = "queue_one", "One waits for the end of the other, more are skipped"
    CANCEL_PREVIOUS = "cancel_previous", "The earlier run is cancelled"


class TickState(TextChoices):
    """``periodic_runs.state``."""

    ENQUEUED = "enqueued", "Enqueued"
    MANUAL = "manual", "Enqueued by hand"
    SKIPPED = "skipped", "Skipped"
    MISSED = "missed", "Missed"


class Dedup:
    """``task_runs.dedup``: which runs are twins of this one. The unique indexes of 40_indexes.sql say the
    same."""

    #: Was READY and has started, so it is nobody's twin any more, not even as it waits for a retry.
    STARTED: Final = -1
    NONE: Final = 0
    READY: Final = 1
    ACTIVE: Final = 2


#: Value of DEDUP_ACTIVE or of a task's ``dedup`` -> column.
DEDUP_MODES: Final = {False: Dedup.NONE, "ready": Dedup.READY, True: Dedup.ACTIVE}

#: Value of a task's ``over_limit`` -> ``task_runs.over_limit``.
OVER_LIMIT: Final = {"wait": 0, "discard": 1, "replace": 2}

#: Django knows four states: a waiting run will run, a cancelled one never will.
DJANGO_STATUS: Final = {
    RunStatus.READY: TaskResultStatus.READY,
    RunStatus.WAITING: TaskResultStatus.READY,
    RunStatus.RUNNING: TaskResultStatus.RUNNING,
    RunStatus.SUCCESSFUL: TaskResultStatus.SUCCESSFUL,
    RunStatus.FAILED: TaskResultStatus.FAILED,
    RunStatus.CANCELLED: TaskResultStatus.FAILED,
}
