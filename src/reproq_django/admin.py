"""The admin: schedules, with what came of them, and workflows to look at.

Ticks (``PeriodicRun``) are shown with their schedule: Django's admin has no pages for a model whose primary
key has two columns. All of it is about the default queue database.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime, AdminTextInputWidget
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from reproq_django.binary import BinaryError
from reproq_django.db import default_alias
from reproq_django.models import PeriodicRun, PeriodicTask, TaskRun, WorkflowRun
from reproq_django.status import RunStatus, TickState
from reproq_django.sync import CODE
from reproq_django.timetable import NEVER

#: Of a schedule's history.
_TICKS_SHOWN = 20


class PeriodicTaskForm(forms.ModelForm):
    """A schedule as people write one; the model's ``clean`` refuses what could not fire."""

    next_run_at = forms.SplitDateTimeField(
        required=False,
        widget=AdminSplitDateTime,
        # The scheduler moves it while somebody looks at the form: what was shown has to come back with it.
        show_hidden_initial=True,
        help_text="Fires then, and from then on as the schedule says. Empty: as it says, from now on.",
    )

    class Meta:
        model = PeriodicTask
        exclude = ("last_run_at", "created_at", "updated_at")  # noqa: DJ006 - a new column shall not be forgotten

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Where it will be stored: clean() compares that with where its queue lives.
        self.instance._state.db = self.instance._state.db or default_alias()

    def clean(self) -> dict[str, Any]:
        """Django's; a next time that nobody has touched is none of the form's."""
        super().clean()
        if "next_run_at" in self.fields and "next_run_at" not in self.changed_data:
            self.cleaned_data["next_run_at"] = self.instance.next_run_at
        return self.cleaned_data

    def _post_clean(self) -> None:
        if self.changed_data == ["enabled"] and not self.cleaned_data["enabled"]:
            # A schedule with a mistake can be switched off, whatever the mistake.
            self.instance.enabled = False
            return
        super()._post_clean()  # type: ignore[misc]  # the stubs leave it out

    def add_error(self, field: str | None, error: Any) -> None:
        """Django's; what is said of a field that is not shown goes to the top of the form."""
        if isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            found: dict[str, list[Any]] = {}
            for name, errors in error.error_dict.items():
                shown = name in self.fields or name == NON_FIELD_ERRORS
                words = errors if shown else [f"{name} {text}" for each in errors for text in each.messages]
                found.setdefault(name if shown else NON_FIELD_ERRORS, []).extend(words)
            error = ValidationError(found)
        super().add_error(field, error)

    def validate_unique(self) -> None:
        """Django's looks in the default database."""
        stored = PeriodicTask.objects.using(self.instance._state.db).filter(pk=self.instance.name)
        if self.instance._state.adding and stored.exists():
            self.add_error("name", "There is a schedule of that name.")


class QueueDatabaseAdmin(admin.ModelAdmin):
    """Reads and writes in the default queue database, router or not."""

    formfield_overrides: ClassVar = {models.TextField: {"widget": AdminTextInputWidget}}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Django's, in that database."""
        return super().get_queryset(request).using(default_alias())

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Django's, in that database."""
        obj.save(using=default_alias())

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Django's, in that database."""
        obj.delete(using=default_alias())


@admin.register(PeriodicTask)
class PeriodicTaskAdmin(QueueDatabaseAdmin):
    """Schedules. Those of the code are the code's to change; an operator switches them on and off."""

    form = PeriodicTaskForm
    list_display = (
        "name",
        "task_path",
        "times",
        "queue_name",
        "next_time",
        "enabled",
        "last_outcome",
        "problem",
    )
    list_filter = ("enabled", "queue_name", "source")
    search_fields = ("name", "task_path")
    actions = ("run_now", "enable", "disable")
    _shown = ("problem", "source", "last_run_at", "next_times", "outcomes")
    fieldsets: ClassVar[Any] = (
        (None, {"fields": ("name", "task_path", "payload_json", "enabled", "problem")}),
        ("When", {"fields": (
            "cron_expr", "timezone", "every_seconds", "jitter_seconds", "start_at", "end_at", "next_run_at",
            "next_times",
        )}),
        ("When one is late", {"fields": ("catch_up", "catch_up_limit", "overlap")}),
        ("Its runs", {"fields": (
            "queue_name", "priority", "max_attempts", "concurrency_key", "concurrency_limit",
        )}),
        ("What came of it", {"fields": ("source", "last_run_at", "outcomes")}),
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        """With the newest tick and the state of its run: one query, however many schedules."""
        ticks = PeriodicRun.objects.filter(name=OuterRef("name")).order_by("-scheduled_at")
        runs = TaskRun.objects.filter(result_id=OuterRef("newest_id"))
        rows: QuerySet[PeriodicTask] = super().get_queryset(request)
        return (
            rows.annotate(newest_state=Subquery(ticks.values("state")[:1]))
            .annotate(newest_id=Subquery(ticks.values("result_id")[:1]))
            .annotate(newest_status=Subquery(runs.values("status")))
        )

    def get_readonly_fields(self, request: HttpRequest, obj: PeriodicTask | None = None) -> tuple[str, ...]:
        """A name is for ever; of a schedule of the code's all but ``enabled``."""
        if obj is None:
            return self._shown
        if obj.source == CODE:
            every = [name for _, options in self.fieldsets for name in options["fields"]]
            return tuple(name for name in every if name != "enabled")
        return (*self._shown, "name")

    @admin.display(description="when", ordering="cron_expr")
    def times(self, schedule: PeriodicTask) -> str:
        """The schedule in a few words."""
        if schedule.every_seconds is not None:
            return f"every {schedule.every_seconds} s"
        return f"{schedule.cron_expr} {schedule.timezone}"

    @admin.display(description="next", ordering="next_run_at")
    def next_time(self, schedule: PeriodicTask) -> datetime | str:
        """``next_run_at`` where it means something."""
        if not schedule.enabled:
            return "off"
        if schedule.rebase:
            return "not computed yet"
        return "never" if schedule.next_run_at.year >= NEVER.year else schedule.next_run_at

    @admin.display(description="newest outcome")
    def last_outcome(self, schedule: Any) -> str:
        """The state of the newest run, or why there is none."""
        if schedule.newest_status is not None:
            return str(RunStatus(schedule.newest_status).label)
        state = schedule.newest_state
        return str(TickState(state).label) if state in TickState.values else (state or "-")

    @admin.display(description="next times")
    def next_times(self, schedule: PeriodicTask) -> str | SafeString:
        """The next five, in the schedule's zone."""
        try:
            times = schedule.next_runs()
        except BinaryError as error:
            return f"not known: {error}"
        if not times:
            return "none"
        return format_html_join("", "{}<br>", ((_in_zone(time, schedule.timezone),) for time in times))

    @admin.display(description="ticks, newest first")
    def outcomes(self, schedule: PeriodicTask) -> str | SafeString:
        """The history, a line for each tick."""
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            (
                (
                    _in_zone(tick.scheduled_at, schedule.timezone),
                    tick.outcome,
                    "" if tick.result_id is None else f"run {tick.result_id}",
                    tick.last_error or tick.reason or "",
                )
                for tick in schedule.history(_TICKS_SHOWN)
            ),
        )
        return format_html("<table>{}</table>", rows) if rows else "none yet"

    @admin.action(description="Run now, beside the schedule", permissions=["change"])
    def run_now(self, request: HttpRequest, chosen: QuerySet[PeriodicTask]) -> None:
        """A run of each, which leaves its schedule alone."""
        for schedule in chosen:
            try:
                run = schedule.run_now()
            except BinaryError as error:
                self.message_user(request, f"Schedule {schedule}: {error}", messages.ERROR)
                continue
            self.log_change(request, schedule, f"Run now: run {run.result_id}.")
            self.message_user(
                request, f"Schedule {schedule}: run {run.result_id} is enqueued", messages.SUCCESS
            )

    @admin.action(description="Enable", permissions=["change"])
    def enable(self, request: HttpRequest, chosen: QuerySet[PeriodicTask]) -> None:
        """From now on; what they have missed is not made up for."""
        self._switch(request, chosen, True)

    @admin.action(description="Disable", permissions=["change"])
    def disable(self, request: HttpRequest, chosen: QuerySet[PeriodicTask]) -> None:
        """Until somebody enables them."""
        self._switch(request, chosen, False)

    def _switch(self, request: HttpRequest, chosen: QuerySet[PeriodicTask], on: bool) -> None:
        changed = 0
        for schedule in chosen.exclude(enabled=on):
            schedule.enabled = on
            schedule.save(update_fields=["enabled"])
            self.log_change(request, schedule, [{"changed": {"fields": ["enabled"]}}])
            changed += 1
        self.message_user(request, f"{changed} schedules {'enabled' if on else 'disabled'}", messages.SUCCESS)


@admin.register(WorkflowRun)
class WorkflowRunAdmin(QueueDatabaseAdmin):
    """Workflows, to look at; `reproq workflow` cancels and retries them."""

    list_display = (
        "workflow_id", "status", "expected_count", "success_count", "failure_count", "created_at",
        "finished_at",
    )  # fmt: skip
    list_filter = ("status",)
    search_fields = ("=workflow_id",)
    ordering = ("-created_at",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody: a workflow is enqueued."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: the workers count."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: its runs would be left over; `reproq prune` deletes all together."""
        return False


def _in_zone(moment: datetime, zone: str) -> str:
    """As the clocks there say; in its own zone where this one is not known."""
    with suppress(LookupError, OSError, ValueError):
        moment = moment.astimezone(ZoneInfo(zone))
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}"
