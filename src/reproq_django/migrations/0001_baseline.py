"""The only migration. Its SQL brings any database up to date, and ``post_migrate`` runs the same SQL when a
later version of the package changes it (see schema.py)."""

from typing import Any

import django.db.models.deletion
import django.utils.timezone
from django.db import migrations, models

import reproq_django.fields
from reproq_django import schema


def apply(apps: Any, schema_editor: Any) -> None:
    """Fresh, older, or made by the earlier system: see schema.py."""
    schema.apply_schema(schema_editor.connection)


def drop(apps: Any, schema_editor: Any) -> None:
    """Back to a database without Reproq."""
    schema.drop_schema(schema_editor.connection)


STATE = [
    migrations.CreateModel(
        name="PeriodicTask",
        fields=[
            ("name", models.TextField(primary_key=True, serialize=False)),
            ("cron_expr", models.TextField(blank=True)),
            ("task_path", models.TextField()),
            ("payload_json", models.JSONField(blank=True, default=dict)),
            ("queue_name", models.TextField(default="default")),
            ("priority", models.IntegerField(default=0)),
            ("max_attempts", models.IntegerField(default=3)),
            ("concurrency_key", models.TextField(blank=True, null=True)),
            ("concurrency_limit", models.IntegerField(default=0)),
            ("last_run_at", models.DateTimeField(blank=True, null=True)),
            ("next_run_at", models.DateTimeField(blank=True)),
            ("enabled", models.BooleanField(default=True)),
            ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("timezone", models.TextField(default="UTC")),
            ("every_seconds", models.IntegerField(blank=True, null=True)),
            ("jitter_seconds", models.IntegerField(default=0)),
            (
                "catch_up",
                models.TextField(
                    choices=[
                        ("none", "Nothing"),
                        ("latest", "The latest is made up for"),
                        ("all", "All are made up for, up to a limit"),
                    ],
                    default="latest",
                ),
            ),
            ("catch_up_limit", models.IntegerField(default=100)),
            (
                "overlap",
                models.TextField(
                    choices=[
                        ("allow", "Both run"),
                        ("skip", "The tick is skipped"),
                        ("queue_one", "One waits for the end of the other, more are skipped"),
                        ("cancel_previous", "The earlier run is cancelled"),
                    ],
                    default="allow",
                ),
            ),
            ("start_at", models.DateTimeField(blank=True, null=True)),
            ("end_at", models.DateTimeField(blank=True, null=True)),
            ("options_json", models.JSONField(blank=True, editable=False, null=True)),
            ("source", models.TextField(blank=True, editable=False, null=True)),
            ("problem", models.TextField(blank=True, editable=False, null=True)),
            ("rebase", models.BooleanField(default=False, editable=False)),
        ],
        options={
            "db_table": "periodic_tasks",
        },
    ),
    migrations.CreateModel(
        name="PeriodicRun",
        fields=[
            (
                "pk",
                models.CompositePrimaryKey(
                    "name", "scheduled_at", blank=True, editable=False, primary_key=True, serialize=False
                ),
            ),
            ("name", models.TextField()),
            ("scheduled_at", models.DateTimeField()),
            (
                "state",
                models.TextField(
                    choices=[
                        ("enqueued", "Enqueued"),
                        ("manual", "Enqueued by hand"),
                        ("skipped", "Skipped"),
                        ("missed", "Missed"),
                    ]
                ),
            ),
            ("result_id", models.BigIntegerField(blank=True, null=True)),
            ("count", models.IntegerField(default=1)),
            ("missed_until", models.DateTimeField(blank=True, null=True)),
            ("reason", models.TextField(blank=True, null=True)),
            ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
        ],
        options={
            "db_table": "periodic_runs",
        },
    ),
    migrations.CreateModel(
        name="WorkflowStep",
        fields=[
            (
                "pk",
                models.CompositePrimaryKey(
                    "workflow_id", "step", blank=True, editable=False, primary_key=True, serialize=False
                ),
            ),
            ("workflow_id", models.UUIDField()),
            ("step", models.IntegerField()),
            ("pending", models.IntegerField()),
            ("failed", models.IntegerField(default=0)),
            ("culprit", models.BigIntegerField(blank=True, null=True)),
        ],
        options={
            "db_table": "reproq_workflow_steps",
        },
    ),
    migrations.CreateModel(
        name="WorkflowEvent",
        fields=[
            ("event_id", models.BigAutoField(primary_key=True, serialize=False)),
            ("workflow_id", models.UUIDField()),
            ("step", models.IntegerField()),
            ("result_id", models.BigIntegerField()),
            ("ended", models.SmallIntegerField()),
            ("failed", models.SmallIntegerField()),
        ],
        options={
            "db_table": "reproq_workflow_events",
        },
    ),
    migrations.CreateModel(
        name="QueueControl",
        fields=[
            ("queue_name", models.TextField(primary_key=True, serialize=False)),
            ("paused", models.BooleanField(default=False)),
            ("paused_at", models.DateTimeField(blank=True, null=True)),
            ("reason", models.TextField(blank=True, null=True)),
            ("resume_at", models.DateTimeField(blank=True, null=True)),
            ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
        ],
        options={
            "db_table": "reproq_queue_controls",
        },
    ),
    migrations.CreateModel(
        name="TaskControl",
        fields=[
            ("task_path", models.TextField(primary_key=True, serialize=False)),
            ("paused", models.BooleanField(default=False)),
            ("paused_at", models.DateTimeField(blank=True, null=True)),
            ("reason", models.TextField(blank=True, null=True)),
            ("resume_at", models.DateTimeField(blank=True, null=True)),
            ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
        ],
        options={
            "db_table": "reproq_task_controls",
        },
    ),
    migrations.CreateModel(
        name="RateLimit",
        fields=[
            ("key", models.TextField(primary_key=True, serialize=False)),
            ("tokens_per_second", models.FloatField()),
            ("burst_size", models.IntegerField()),
            ("current_tokens", models.FloatField()),
            ("last_refilled_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("tat", models.BigIntegerField(blank=True, editable=False, null=True)),
            ("stated", models.BooleanField(default=False, editable=False)),
        ],
        options={
            "db_table": "rate_limits",
        },
    ),
    migrations.CreateModel(
        name="KeyLimit",
        fields=[
            ("limit_id", models.BigAutoField(primary_key=True, serialize=False)),
            ("key", models.TextField()),
            ("amount", models.FloatField()),
            ("burst", models.IntegerField(default=1)),
            ("pinned", models.BooleanField(default=False)),
            ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
        ],
        options={
            "db_table": "reproq_key_limits",
        },
    ),
    migrations.CreateModel(
        name="Worker",
        fields=[
            ("worker_id", models.TextField(primary_key=True, serialize=False)),
            ("hostname", models.TextField()),
            ("concurrency", models.IntegerField()),
            ("queues", models.JSONField(default=list)),
            ("started_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("last_seen_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("version", models.TextField(blank=True, null=True)),
            ("incarnation", models.UUIDField(blank=True, editable=False, null=True)),
            ("pid", models.IntegerField(blank=True, editable=False, null=True)),
            ("wants_wake", models.BooleanField(default=False, editable=False)),
        ],
        options={
            "db_table": "reproq_workers",
        },
    ),
    migrations.CreateModel(
        name="WorkflowRun",
        fields=[
            ("workflow_id", models.UUIDField(primary_key=True, serialize=False)),
            ("expected_count", models.IntegerField(default=0)),
            ("success_count", models.IntegerField(default=0)),
            ("failure_count", models.IntegerField(default=0)),
            ("callback_result_id", models.BigIntegerField(blank=True, null=True)),
            (
                "status",
                models.TextField(
                    choices=[
                        ("RUNNING", "Running"),
                        ("WAITING_CALLBACK", "Waiting for its callback"),
                        ("SUCCESSFUL", "Successful"),
                        ("FAILED", "Failed"),
                        ("CANCELLED", "Cancelled"),
                    ],
                    default="RUNNING",
                ),
            ),
            ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
            (
                "policy",
                models.TextField(
                    choices=[("fail", "They fail as well"), ("continue", "They start all the same")],
                    default="fail",
                ),
            ),
            ("final_step", models.IntegerField(blank=True, editable=False, null=True)),
            ("failure_result_id", models.BigIntegerField(blank=True, null=True)),
            ("finished_at", models.DateTimeField(blank=True, null=True)),
        ],
        options={
            "db_table": "workflow_runs",
        },
    ),
    migrations.CreateModel(
        name="TaskRun",
        fields=[
            ("result_id", models.BigAutoField(primary_key=True, serialize=False)),
            ("backend_alias", models.TextField(default="default")),
            ("queue_name", models.TextField(default="default")),
            ("priority", models.IntegerField(default=0)),
            ("run_after", models.DateTimeField(blank=True, null=True)),
            ("spec_json", reproq_django.fields.ExactJSONField()),
            ("spec_hash", models.CharField(max_length=64)),
            ("task_path", models.TextField()),
            (
                "status",
                models.TextField(
                    choices=[
                        ("READY", "Ready"),
                        ("RUNNING", "Running"),
                        ("WAITING", "Waiting"),
                        ("SUCCESSFUL", "Successful"),
                        ("FAILED", "Failed"),
                        ("CANCELLED", "Cancelled"),
                    ],
                    default="READY",
                ),
            ),
            ("enqueued_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("started_at", models.DateTimeField(blank=True, null=True)),
            ("last_attempted_at", models.DateTimeField(blank=True, null=True)),
            ("finished_at", models.DateTimeField(blank=True, null=True)),
            ("attempts", models.IntegerField(default=0)),
            ("max_attempts", models.IntegerField(default=3)),
            ("timeout_seconds", models.IntegerField(default=900)),
            ("lock_key", models.TextField(blank=True, null=True)),
            ("concurrency_key", models.TextField(blank=True, null=True)),
            ("concurrency_limit", models.IntegerField(default=0)),
            ("worker_ids", models.JSONField(default=list)),
            ("return_json", reproq_django.fields.ExactJSONField(blank=True, null=True)),
            ("errors_json", models.JSONField(default=list)),
            ("metadata_json", models.JSONField(default=dict)),
            ("last_error", models.TextField(blank=True, null=True)),
            ("failed_at", models.DateTimeField(blank=True, null=True)),
            ("leased_until", models.DateTimeField(blank=True, null=True)),
            ("leased_by", models.TextField(blank=True, null=True)),
            ("logs_uri", models.TextField(blank=True, null=True)),
            ("artifacts_uri", models.TextField(blank=True, null=True)),
            ("expires_at", models.DateTimeField(blank=True, null=True)),
            ("workflow_id", models.UUIDField(blank=True, null=True)),
            ("wait_count", models.IntegerField(default=0)),
            ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("cancel_requested", models.BooleanField(default=False)),
            ("claim_key", models.BigIntegerField(blank=True, editable=False, null=True)),
            ("gate", models.SmallIntegerField(blank=True, editable=False, null=True)),
            ("epoch", models.IntegerField(default=0, editable=False)),
            ("incarnation", models.UUIDField(blank=True, editable=False, null=True)),
            ("slot_no", models.IntegerField(blank=True, editable=False, null=True)),
            ("dedup", models.SmallIntegerField(default=0, editable=False)),
            ("crash_count", models.IntegerField(default=0, editable=False)),
            ("headers", models.JSONField(blank=True, default=dict)),
            ("fairness_key", models.TextField(blank=True, editable=False, null=True)),
            ("rate_key", models.TextField(blank=True, editable=False, null=True)),
            ("rate_per_second", models.FloatField(blank=True, editable=False, null=True)),
            ("rate_burst", models.IntegerField(blank=True, editable=False, null=True)),
            ("over_limit", models.SmallIntegerField(default=0, editable=False)),
            ("visit_key", models.TextField(blank=True, editable=False, null=True)),
            ("attempts_json", models.JSONField(default=list, editable=False)),
            ("progress_json", models.JSONField(blank=True, editable=False, null=True)),
            ("step", models.IntegerField(blank=True, editable=False, null=True)),
            ("after_step", models.IntegerField(blank=True, editable=False, null=True)),
            (
                "parent",
                models.ForeignKey(
                    blank=True,
                    db_index=False,
                    null=True,
                    on_delete=django.db.models.deletion.SET_NULL,
                    related_name="children",
                    to="reproq_django.taskrun",
                ),
            ),
        ],
        options={
            "db_table": "task_runs",
            "permissions": [("can_replay_taskrun", "Can replay task runs")],
        },
    ),
    migrations.CreateModel(
        name="AttemptLog",
        fields=[
            (
                "pk",
                models.CompositePrimaryKey(
                    "run_id", "epoch", blank=True, editable=False, primary_key=True, serialize=False
                ),
            ),
            (
                "run",
                models.ForeignKey(
                    db_column="result_id",
                    db_constraint=False,
                    db_index=False,
                    on_delete=django.db.models.deletion.DO_NOTHING,
                    related_name="attempt_logs",
                    to="reproq_django.taskrun",
                ),
            ),
            ("epoch", models.IntegerField()),
            ("attempt", models.IntegerField()),
            ("chunks", models.TextField()),
            ("bytes", models.BigIntegerField(default=0)),
            ("dropped", models.BigIntegerField(default=0)),
            ("created_at", models.DateTimeField(default=django.utils.timezone.now)),
            ("updated_at", models.DateTimeField(default=django.utils.timezone.now)),
        ],
        options={
            "db_table": "reproq_attempt_logs",
        },
    ),
]


class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunPython(apply, drop)],
            state_operations=STATE,
        )
    ]
