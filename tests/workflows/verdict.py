"""Holds what happened against what each workflow's policy says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from harness import ALIAS
from tests.workflows.drive import Course, Plan
from tests.workflows.plan import Enqueued

from reproq_django.models import TaskRun, WorkflowEvent, WorkflowRun, WorkflowStep
from reproq_django.schema import connections


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one seed came to."""

    line: str
    violations: list[str]


def judge(database: str, plan: Plan, course: Course) -> Verdict:
    """All checks."""
    rows = {row.pk: row for row in TaskRun.objects.using(ALIAS).defer("spec_json").iterator()}
    workflows = {row.pk: row for row in WorkflowRun.objects.using(ALIAS)}
    violations = [
        *_left_behind(course),
        *(found for one in course.workflows for found in _workflow(one, rows, workflows, course)),
    ]
    again = sum(len(course.ends[one.last]) - 1 for one in course.workflows if course.ends[one.last])
    ran = sum(bool(course.ends[one.last]) for one in course.workflows)
    variants = {one.shape.variant: 0 for one in course.workflows}
    for one in course.workflows:
        variants[one.shape.variant] += 1
    shares = ", ".join(f"{count} {name}" for name, count in sorted(variants.items()))
    line = (
        f"{database} seed {plan.seed}: {plan.chords} chords x {plan.width}, {plan.chains} chains x "
        f"{plan.length} ({shares}) in {course.seconds:.0f} s, {course.kills} workers killed; "
        f"{len(rows)} runs, {ran} callbacks and last links ran, "
        f"{again} of them again because their worker was killed; "
        f"{_repairs()} sweeper repairs; {len(violations)} violations"
    )
    return Verdict(line, violations)


def _left_behind(course: Course) -> Iterator[str]:
    if course.stuck:
        yield "nothing has ended for a minute, and there is work left"
    for model, where in (
        (TaskRun, {"status__in": ("WAITING", "READY", "RUNNING")}),
        (WorkflowRun, {"status": "RUNNING"}),
        (WorkflowStep, {"pending__gt": 0}),
        (WorkflowEvent, {}),
    ):
        if count := model.objects.using(ALIAS).filter(**where).count():
            yield f"{count} rows of {model.__name__} are left with {where}"
    if repairs := _repairs():
        yield f"the sweeper had to repair {repairs} workflows"


def _repairs() -> int:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT value FROM reproq_meta WHERE key = 'workflow_repairs'")
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def _workflow(
    one: Enqueued, rows: dict[int, TaskRun], workflows: dict[Any, WorkflowRun], course: Course
) -> Iterator[str]:
    shape, last = one.shape, rows[one.last]
    name = f"{shape.kind} {shape.number} ({shape.variant})"
    workflow = workflows[last.workflow_id]
    runs = [*one.members, one.last]
    good = sum(rows[run].status == "SUCCESSFUL" for run in runs)
    counts = (workflow.expected_count, workflow.success_count, workflow.failure_count)
    if counts != (len(runs), good, len(runs) - good):
        yield f"{name}: its counts are {counts}, and {good} of {len(runs)} runs succeeded"
    if workflow.status != last.status:
        yield f"{name} is {workflow.status} and its last run {last.status}"
    if shape.expected is None:
        yield from _stopped(name, one, rows, course)
    else:
        yield from _went_through(name, one, rows, course)
    yield from _order(name, one, course)
    if workflow.failure_result_id is not None:
        yield from _mourned(name, workflow, rows, course, runs)


def _went_through(name: str, one: Enqueued, rows: dict[int, TaskRun], course: Course) -> Iterator[str]:
    last = rows[one.last]
    if last.status != "SUCCESSFUL" or last.return_json != one.shape.expected:
        yield f"{name}: its last run {one.last} is {last.status} and returned {last.return_json}"
    if not course.ends[one.last]:
        yield f"{name}: nobody has seen its last run {one.last} end"
    if len(course.begins[one.last]) > last.attempts:
        yield f"{name}: its last run began {len(course.begins[one.last])} times in {last.attempts} attempts"


def _stopped(name: str, one: Enqueued, rows: dict[int, TaskRun], course: Course) -> Iterator[str]:
    """All that waits for the culprit fails and names it, and never begins."""
    shape = one.shape
    assert shape.culprit is not None
    culprit = one.members[shape.culprit]
    followers = [one.last] if shape.kind == "chord" else [*one.members[shape.culprit + 1 :], one.last]
    for run in followers:
        error = rows[run].errors_json[-1] if rows[run].errors_json else {}
        said = (rows[run].status, error.get("kind"), error.get("failed_result_id"))
        if said != ("FAILED", "workflow_failed", culprit):
            yield f"{name}: run {run} behind the culprit {culprit} ended as {said}"
        if course.begins[run]:
            yield f"{name}: run {run} behind the culprit {culprit} has begun"


def _order(name: str, one: Enqueued, course: Course) -> Iterator[str]:
    """Nothing begins before what it waits for has ended: a killed attempt's second life included."""
    if one.shape.kind == "chord":
        pairs = [(member, one.last) for member in one.members]
    else:
        runs = [*one.members, one.last]
        pairs = list(pairwise(runs))
    for before, after in pairs:
        # The last word of what came before, where it has had one: a culprit has none.
        moments = course.ends[before] or course.begins[before]
        if course.begins[after] and (not moments or min(course.begins[after]) < max(moments)):
            yield f"{name}: run {after} began before run {before} had ended"


def _mourned(
    name: str, workflow: WorkflowRun, rows: dict[int, TaskRun], course: Course, runs: list[int]
) -> Iterator[str]:
    mourner = workflow.failure_result_id
    assert mourner is not None
    if rows[mourner].status != "SUCCESSFUL" or not course.ends[mourner]:
        yield f"{name}: its on_failure run {mourner} is {rows[mourner].status}"
    latest = max((moment for run in runs for moment in course.begins[run]), default=0)
    if course.begins[mourner] and min(course.begins[mourner]) < latest:
        yield f"{name}: its on_failure run {mourner} began while others were at work"
