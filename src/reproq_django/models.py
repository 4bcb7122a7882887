"""The tables as Django models, for the admin and for reading.

The schema's owner is ``sql/<vendor>/``; ``enqueue.py`` writes runs and the worker changes them. Text columns
may be NULL because rows of the earlier system are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from django.apps import apps
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import models
from django.utils.timezone import now

from reproq_django import timetable
from reproq_django.fields import ExactJSONField
from reproq_django.status import CatchUp, Overlap, RunStatus, TickState, WorkflowPolicy, WorkflowStatus

if TYPE_CHECKING:
    from datetime import datetime

    from reproq_django.result import ReproqTaskResult

if not apps.is_installed("reproq_django"):
    # Django's own words would be about an app_label.
    raise ImproperlyConfigured(
        'TASKS uses Reproq, but its app is not installed: add "reproq_django" to INSTALLED_APPS '
        "and run `manage.py migrate`"
    )


class TaskRun(models.Model):
    """One enqueued call of a task, from READY to its end. A retry is the same run."""

    result_id = models.BigAutoField(primary_key=True)
    #: Alias in ``TASKS`` of the backend that enqueued it.
    backend_alias = models.TextField(default="default")
    queue_name = models.TextField(default="default")
    #: Larger runs first, weighed against age.
    priority = models.IntegerField(default=0)
    run_after = models.DateTimeField(null=True, blank=True)
    #: Canonical text, see spec.py; spec_hash is its SHA-256.
    spec_json = ExactJSONField()
    spec_hash = models.CharField(max_length=64)
    task_path = models.TextField()
    status = models.TextField(choices=RunStatus, default=RunStatus.READY)
    enqueued_at = models.DateTimeField(default=now)
    started_at = models.DateTimeField(null=True, blank=True)
    last_attempted_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    #: The retry budget spent; a drain gives an attempt back, so it may be below ``len(worker_ids)``.
    attempts = models.IntegerField(default=0)
    max_attempts = models.IntegerField(default=3)
    timeout_seconds = models.IntegerField(default=900)
    lock_key = models.TextField(null=True, blank=True)
    concurrency_key = models.TextField(null=True, blank=True)
    #: 0 = the key limits nothing.
    concurrency_limit = models.IntegerField(default=0)
    #: One entry per claim.
    worker_ids = models.JSONField(default=list)
    return_json = ExactJSONField(null=True, blank=True)
    #: One object per failed attempt; ``errors.RUN_ERRORS`` lists the kinds.
    errors_json = models.JSONField(default=list)
    metadata_json = models.JSONField(default=dict)
    last_error = models.TextField(null=True, blank=True)
    failed_at = models.DateTimeField(null=True, blank=True)
    leased_until = models.DateTimeField(null=True, blank=True)
    leased_by = models.TextField(null=True, blank=True)
    logs_uri = models.TextField(null=True, blank=True)
    artifacts_uri = models.TextField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    parent = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children", db_index=False
    )
    workflow_id = models.UUIDField(null=True, blank=True)
    wait_count = models.IntegerField(default=0)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)
    cancel_requested = models.BooleanField(default=False)
    #: Place in line and what holds the run back; set by a trigger, see 30_lanes.sql.
    claim_key = models.BigIntegerField(null=True, blank=True, editable=False)
    gate = models.SmallIntegerField(null=True, blank=True, editable=False)
    #: Rises at every claim; with ``incarnation`` (one worker start) the fence of every later write.
    epoch = models.IntegerField(default=0, editable=False)
    incarnation = models.UUIDField(null=True, blank=True, editable=False)
    #: Slot of ``concurrency_key`` that the running run holds.
    slot_no = models.IntegerField(null=True, blank=True, editable=False)
    #: ``status.Dedup``.
    dedup = models.SmallIntegerField(default=0, editable=False)
    #: Attempts that took their process with them.
    crash_count = models.IntegerField(default=0, editable=False)
    #: Trace context and the like: never part of the spec, they would change its hash.
    headers = models.JSONField(default=dict, blank=True)
    #: Whose share of the workers the run counts for; NULL = the concurrency key's.
    fairness_key = models.TextField(null=True, blank=True, editable=False)
    #: Full name of the rate that its starts count for: ``key:<key>`` or ``task:<path>``.
    rate_key = models.TextField(null=True, blank=True, editable=False)
    #: What the enqueue said of that rate; see ``KeyLimit``.
    rate_per_second = models.FloatField(null=True, blank=True, editable=False)
    rate_burst = models.IntegerField(null=True, blank=True, editable=False)
    #: ``status.OVER_LIMIT``.
    over_limit = models.SmallIntegerField(default=0, editable=False)
    #: Runs that the same keys hold back have the same; set by a trigger, see 30_lanes.sql.
    visit_key = models.TextField(null=True, blank=True, editable=False)
    #: One object per attempt that has ended, the newest 50; ``history.Attempt`` reads them.
    attempts_json = models.JSONField(default=list, editable=False)
    #: What the running attempt has said last about how far it is; ``history.Progress`` reads it.
    progress_json = models.JSONField(null=True, blank=True, editable=False)
    #: The step of its workflow that the run counts for, and the one that it waits for; see ``WorkflowStep``.
    step = models.IntegerField(null=True, blank=True, editable=False)
    after_step = models.IntegerField(null=True, blank=True, editable=False)

    class Meta:
        db_table = "task_runs"
        permissions = [("can_replay_taskrun", "Can replay task runs")]

    def __str__(self) -> str:
        return f"{self.task_path} #{self.result_id}"


class AttemptLog(models.Model):
    """What one attempt of a run has printed, the end of it at least. The database deletes it with its run."""

    pk = models.CompositePrimaryKey("run_id", "epoch")
    run = models.ForeignKey(
        TaskRun,
        # A trigger has done it: see 50_logs.sql.
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_column="result_id",
        db_index=False,
        related_name="attempt_logs",
    )
    #: The claim: a run that is given back begins the same attempt again.
    epoch = models.IntegerField()
    attempt = models.IntegerField()
    #: ``[["o", "text"], ["e", "text"], ...]`` in the order in which the worker read it.
    chunks = models.TextField()
    #: Bytes of text that are kept, and that came before them.
    bytes = models.BigIntegerField(default=0)
    dropped = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "reproq_attempt_logs"

    def __str__(self) -> str:
        return f"attempt {self.attempt} of run {self.run_id}"


class Worker(models.Model):
    """A worker process that has reported for duty."""

    worker_id = models.TextField(primary_key=True)
    hostname = models.TextField()
    concurrency = models.IntegerField()
    queues = models.JSONField(default=list)
    started_at = models.DateTimeField(default=now)
    last_seen_at = models.DateTimeField(default=now)
    version = models.TextField(null=True, blank=True)
    incarnation = models.UUIDField(null=True, blank=True, editable=False)
    pid = models.IntegerField(null=True, blank=True, editable=False)
    #: Set while the worker sleeps: an enqueue sends a notification only then.
    wants_wake = models.BooleanField(default=False, editable=False)

    class Meta:
        db_table = "reproq_workers"

    def __str__(self) -> str:
        return self.worker_id


#: What a scheduler writes.
SCHEDULERS_FIELDS: Final = frozenset({"next_run_at", "last_run_at", "problem", "rebase"})


class PeriodicTask(models.Model):
    """A schedule: enqueues its task at each time of ``cron_expr``."""

    name = models.TextField(primary_key=True)
    cron_expr = models.TextField(blank=True)
    task_path = models.TextField()
    #: {"args": [...], "kwargs": {...}}; a bare array = args, another object = kwargs.
    payload_json = models.JSONField(default=dict, blank=True)
    queue_name = models.TextField(default="default")
    priority = models.IntegerField(default=0)
    max_attempts = models.IntegerField(default=3)
    concurrency_key = models.TextField(null=True, blank=True)
    concurrency_limit = models.IntegerField(default=0)
    last_run_at = models.DateTimeField(null=True, blank=True)
    #: Empty in a new one: as the schedule says, from now on.
    next_run_at = models.DateTimeField(blank=True)
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)
    #: IANA name of the zone that ``cron_expr`` speaks of.
    timezone = models.TextField(default="UTC")
    #: Fires every so many seconds; instead of ``cron_expr``, which is empty then.
    every_seconds = models.IntegerField(null=True, blank=True)
    #: Runs start up to so many seconds later, so that not all of a site's start at once.
    jitter_seconds = models.IntegerField(default=0)
    #: What becomes of ticks that nobody saw, and for "all", of how many.
    catch_up = models.TextField(choices=CatchUp, default=CatchUp.LATEST)
    catch_up_limit = models.IntegerField(default=100)
    #: What becomes of a tick while an earlier run has not ended.
    overlap = models.TextField(choices=Overlap, default=Overlap.ALLOW)
    start_at = models.DateTimeField(null=True, blank=True)
    end_at = models.DateTimeField(null=True, blank=True)
    #: The options that the task itself had when the schedule was saved; see schedules.py.
    options_json = models.JSONField(null=True, blank=True, editable=False)
    #: "code": declared by ``@recurring``; NULL: somebody made the row.
    source = models.TextField(null=True, blank=True, editable=False)
    #: Why it cannot fire, in the scheduler's words.
    problem = models.TextField(null=True, blank=True, editable=False)
    #: ``next_run_at`` no longer fits: the scheduler computes it anew from now. Set by a trigger, see
    #: 70_schedules.sql.
    rebase = models.BooleanField(default=False, editable=False)
    #: The scheduler's fields as they were read.
    _read: dict[str, Any] = {}

    class Meta:
        db_table = "periodic_tasks"

    def __str__(self) -> str:
        return self.name

    def save(self, **kwargs: Any) -> None:
        """Django's, with the options of the task as they are now.

        A row that was read is written without what the scheduler may have changed meanwhile, unless the
        caller has changed it; a ``next_run_at`` of the caller's is a tick itself, so now fires at once.
        """
        from reproq_django.schedules import prepare_to_save

        inserting = self._state.adding or kwargs.get("force_insert")
        if kwargs.get("update_fields") is None and not inserting:
            loaded = {field.name for field in self._meta.concrete_fields} - self.get_deferred_fields()
            kwargs["update_fields"] = loaded - SCHEDULERS_FIELDS - {"name"} | self._changed()
        if (names := kwargs.get("update_fields")) is None:
            prepare_to_save(self, None)
        elif names:
            kwargs["update_fields"] = prepare_to_save(self, set(names))
        super().save(**kwargs)
        self._note_read()

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Self:
        """Django's; notes what was read, see save()."""
        schedule = super().from_db(*args, **kwargs)
        schedule._note_read()
        return schedule

    def refresh_from_db(self, *args: Any, **kwargs: Any) -> None:
        """Django's; notes what was read, see save()."""
        super().refresh_from_db(*args, **kwargs)
        self._note_read()

    def _note_read(self) -> None:
        self._read = {name: self.__dict__.get(name) for name in SCHEDULERS_FIELDS}

    def _changed(self) -> set[str]:
        """What the caller has changed of the scheduler's."""
        return {name for name, value in self._read.items() if self.__dict__.get(name) != value}

    def clean(self) -> None:
        """Refuse a schedule that could not fire. Raises ValidationError with the reason of each field."""
        from reproq_django.schedules import problems_of

        if problems := problems_of(self):
            raise ValidationError({field: f"{reason}." for field, reason in problems.items()})

    def next_runs(self, count: int = 5) -> list[datetime]:
        """The next times, aware and in UTC; see timetable.py."""
        return timetable.next_runs(self, count)

    def history(self, limit: int = 20) -> list[timetable.Tick]:
        """What the newest ticks have led to, newest first; see timetable.py."""
        return timetable.history(self, limit)

    def run_now(self) -> ReproqTaskResult:
        """Enqueue a run beside the schedule, which stays as it is; see timetable.py."""
        return timetable.run_now(self)


class PeriodicRun(models.Model):
    """What one tick of a schedule has led to. The scheduler keeps the newest hundred of each."""

    pk = models.CompositePrimaryKey("name", "scheduled_at")
    #: Of the ``PeriodicTask``, which may be gone.
    name = models.TextField()
    scheduled_at = models.DateTimeField()
    state = models.TextField(choices=TickState)
    result_id = models.BigIntegerField(null=True, blank=True)
    #: Ticks that this row stands for; more than one only where they were missed, until ``missed_until``.
    count = models.IntegerField(default=1)
    missed_until = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(null=True, blank=True)
    created_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "periodic_runs"

    def __str__(self) -> str:
        return f"{self.name} at {self.scheduled_at}"


class QueueControl(models.Model):
    """What an operator has ordered for a queue."""

    queue_name = models.TextField(primary_key=True)
    paused = models.BooleanField(default=False)
    paused_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(null=True, blank=True)
    #: When the pause is over by itself; NULL = when somebody ends it.
    resume_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "reproq_queue_controls"

    def __str__(self) -> str:
        return self.queue_name


class TaskControl(models.Model):
    """What an operator has ordered for a task."""

    task_path = models.TextField(primary_key=True)
    paused = models.BooleanField(default=False)
    paused_at = models.DateTimeField(null=True, blank=True)
    reason = models.TextField(null=True, blank=True)
    resume_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "reproq_task_controls"

    def __str__(self) -> str:
        return self.task_path


class RateLimit(models.Model):
    """Starts per second of a key: ``task:<path>``, ``queue:<name>``, ``key:<key>`` or ``global``. 0 = no
    limit."""

    key = models.TextField(primary_key=True)
    tokens_per_second = models.FloatField()
    burst_size = models.IntegerField()
    #: Tokens at ``last_refilled_at``, as whoever set the rate wrote them; the workers count in ``tat``.
    current_tokens = models.FloatField()
    last_refilled_at = models.DateTimeField(default=now)
    #: When the last start admitted would have come at an even pace, microseconds since 1970; NULL: long ago.
    tat = models.BigIntegerField(null=True, blank=True, editable=False)
    #: A worker made the row for a rate that the code states; an operator's rows are False.
    stated = models.BooleanField(default=False, editable=False)

    class Meta:
        db_table = "rate_limits"

    def __str__(self) -> str:
        return self.key

    def save(self, **kwargs: Any) -> None:
        """Django's, but a row that was read is written without ``tat``: a worker moves that with every start,
        and writing back what it was would admit those starts again."""
        if not self._state.adding and not kwargs.get("force_insert") and kwargs.get("update_fields") is None:
            names = {field.name for field in self._meta.concrete_fields if not field.primary_key}
            kwargs["update_fields"] = names - {"tat"}
        super().save(**kwargs)


class KeyLimit(models.Model):
    """A word on the limit of a key. The latest pinned row of a key counts, else its latest row at all."""

    limit_id = models.BigAutoField(primary_key=True)
    #: ``concurrency:<key>``, or the name of a rate.
    key = models.TextField()
    #: Runs at the same time, or starts per second; 0 = no limit.
    amount = models.FloatField()
    #: Starts of a rate that may come at once.
    burst = models.IntegerField(default=1)
    #: An operator's word, which no enqueue overrules.
    pinned = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "reproq_key_limits"

    def __str__(self) -> str:
        return f"{self.key} = {self.amount:g}"


class WorkflowRun(models.Model):
    """Runs that were enqueued together and wait for one another: a chain, a group, a chord."""

    workflow_id = models.UUIDField(primary_key=True)
    #: Its runs, and how they have ended; a run that was cancelled counts as failed.
    expected_count = models.IntegerField(default=0)
    success_count = models.IntegerField(default=0)
    failure_count = models.IntegerField(default=0)
    callback_result_id = models.BigIntegerField(null=True, blank=True)
    status = models.TextField(choices=WorkflowStatus, default=WorkflowStatus.RUNNING)
    created_at = models.DateTimeField(default=now)
    updated_at = models.DateTimeField(default=now)
    policy = models.TextField(choices=WorkflowPolicy, default=WorkflowPolicy.FAIL)
    #: The step that ends it.
    final_step = models.IntegerField(null=True, blank=True, editable=False)
    #: A run that starts when the workflow has failed; in none of the counts.
    failure_result_id = models.BigIntegerField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "workflow_runs"

    def __str__(self) -> str:
        return str(self.workflow_id)


class WorkflowStep(models.Model):
    """Runs of a workflow that others wait for: those with ``TaskRun.after_step`` for those with ``step``."""

    pk = models.CompositePrimaryKey("workflow_id", "step")
    workflow_id = models.UUIDField()
    step = models.IntegerField()
    #: Runs that have not ended.
    pending = models.IntegerField()
    #: Runs that have ended badly, and the first of them.
    failed = models.IntegerField(default=0)
    culprit = models.BigIntegerField(null=True, blank=True)

    class Meta:
        db_table = "reproq_workflow_steps"

    def __str__(self) -> str:
        return f"step {self.step} of {self.workflow_id}"


class WorkflowEvent(models.Model):
    """A member of a workflow that has ended, or begins anew, and that no worker has counted yet."""

    event_id = models.BigAutoField(primary_key=True)
    workflow_id = models.UUIDField()
    step = models.IntegerField()
    result_id = models.BigIntegerField()
    #: What to add to the step's and the workflow's counts: 1, 0 or -1.
    ended = models.SmallIntegerField()
    failed = models.SmallIntegerField()

    class Meta:
        db_table = "reproq_workflow_events"

    def __str__(self) -> str:
        return f"run {self.result_id} of {self.workflow_id}"
