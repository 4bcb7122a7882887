"""The operator's statements that the binary runs, as Django's cursors run them: the placeholders fit both."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from reproq_django.models import QueueControl, TaskControl, TaskRun
from reproq_django.statements import statement
from reproq_django.workflows import chain
from testapp import tasks

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "postgres"])


def run(alias: str, file: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(statement(connection.vendor, file), parameters)
        return cursor.fetchall() if cursor.description else []


def ids(alias: str, *numbers: int) -> Any:
    return list(numbers) if connections[alias].vendor == "postgresql" else json.dumps(numbers)


@pytest.mark.parametrize(("kind", "model"), [("queue", QueueControl), ("task", TaskControl)])
def test_pause_and_resume(alias: str, kind: str, model: Any) -> None:
    run(alias, f"pause_{kind}", name="mail", reason="100% down", seconds=60)
    control = model.objects.using(alias).get(pk="mail")
    assert (control.paused, control.reason) == (True, "100% down")
    assert control.resume_at - control.paused_at == pytest.approx(
        timedelta(minutes=1), abs=timedelta(seconds=1)
    )
    run(alias, f"pause_{kind}", name="mail", reason=None, seconds=None)
    control.refresh_from_db()
    assert (control.reason, control.resume_at) == (None, None)
    assert len(run(alias, f"resume_{kind}", name="mail")) == 1
    assert not run(alias, f"resume_{kind}", name="mail")


def test_reschedule_replay_and_retry(alias: str) -> None:
    result = tasks.noop.enqueue(1)
    assert run(alias, "reschedule", id=result.result_id, at=None, seconds=3600)[0][0] == "READY"
    runs = TaskRun.objects.using(alias)
    assert runs.get().run_after > timezone.now() + timedelta(minutes=59)
    assert not run(alias, "replay", id=result.result_id), "it stands for itself"
    standing = run(alias, "active_twins", ids=ids(alias, result.result_id))
    assert standing == [(result.result_id, "READY", result.result_id, None)]
    runs.update(status="FAILED", last_error="no", failed_at=timezone.now())
    (moved,) = run(alias, "retry", ids=ids(alias, result.result_id), cancelled=False)
    assert moved[0] == result.result_id
    assert (runs.get().status, runs.get().last_error) == ("READY", None)
    runs.update(status="SUCCESSFUL")
    (made,) = run(alias, "replay", id=result.result_id)
    assert made[0] > result.result_id
    assert runs.get(pk=made[0]).spec_hash == runs.get(pk=result.result_id).spec_hash


def test_a_member_is_retried_as_its_workflow_allows(alias: str) -> None:
    """One that was ended for the sake of another stays; one whose step is not reached waits for it again."""
    first, second, third = chain((tasks.mark, [1]), (tasks.mark, [2]), (tasks.mark, [3])).enqueue()
    numbers = ids(alias, first.result_id, second.result_id, third.result_id)
    runs = TaskRun.objects.using(alias)
    spoilt = {"kind": "workflow_failed", "failed_result_id": second.result_id}
    runs.exclude(pk=third.result_id).update(status="CANCELLED", errors_json=[{"kind": "cancelled"}])
    runs.filter(pk=third.result_id).update(status="FAILED", errors_json=[spoilt])
    standing = run(alias, "active_twins", ids=numbers)
    assert [(status, by) for _, status, _, by in sorted(standing)] == [
        ("CANCELLED", None),
        ("CANCELLED", None),
        ("FAILED", second.result_id),
    ]
    assert not run(alias, "retry", ids=numbers, cancelled=False)
    moved = run(alias, "retry", ids=numbers, cancelled=True)
    assert sorted(row[0] for row in moved) == [first.result_id, second.result_id]
    assert [runs.get(pk=each.result_id).status for each in (first, second, third)] == [
        "READY",
        "WAITING",
        "FAILED",
    ]
