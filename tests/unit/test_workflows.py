"""Chains, groups and chords as they are stored, on both databases."""

import pickle
import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.db import IntegrityError, connections, transaction
from django.tasks import task_backends
from django.tasks.exceptions import InvalidTask
from django.tasks.signals import task_enqueued

from reproq_django import workflow_enqueue
from reproq_django.errors import InvalidWorkflow, UnsupportedArgument, WorkflowFailed
from reproq_django.models import TaskRun, WorkflowEvent, WorkflowRun, WorkflowStep
from reproq_django.references import RunResults
from reproq_django.workflows import Workflow, call, chain, chord, group, result_of
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])
committed = pytest.mark.django_db(databases=["default", "postgres"], transaction=True)


def mark(number):
    return (tasks.mark, [number])


def plan_of(alias, workflow):
    """(first argument, state, step, after) of each run, in the order of their ids, and steps -> pending."""
    runs = TaskRun.objects.using(alias).filter(workflow_id=workflow.workflow_id).order_by("result_id")
    rows = [(run.spec_json["args"][0], run.status, run.step, run.after_step) for run in runs]
    steps = WorkflowStep.objects.using(alias).filter(workflow_id=workflow.workflow_id).order_by("step")
    assert all((step.failed, step.culprit) == (0, None) for step in steps)
    return rows, [step.pending for step in steps]


def row_of(alias, workflow):
    return WorkflowRun.objects.using(alias).get(pk=workflow.workflow_id)


def empty(alias):
    tables = (TaskRun, WorkflowRun, WorkflowStep, WorkflowEvent)
    return not any(table.objects.using(alias).exists() for table in tables)


def test_a_chain_waits_step_by_step(alias):
    results = chain(mark(1), (tasks.mark, (2,)), (tasks.mark, (3,), {})).enqueue()
    assert [result.raw_status for result in results] == ["READY", "WAITING", "WAITING"]
    assert isinstance(results, list)
    assert plan_of(alias, results.workflow) == (
        [(1, "READY", 1, None), (2, "WAITING", 2, 1), (3, "WAITING", 3, 2)],
        [1, 1, 1],
    )
    row = row_of(alias, results.workflow)
    assert (row.expected_count, row.success_count, row.failure_count, row.status, row.policy) == (
        3, 0, 0, "RUNNING", "fail",
    )  # fmt: skip
    assert (row.final_step, row.callback_result_id, row.failure_result_id) == (3, None, None)
    assert row.created_at == row.updated_at
    for result in results:
        assert result.workflow_id == results.workflow.workflow_id
        before = result
        result.refresh()
        assert result == before
        assert pickle.loads(pickle.dumps(result)) == result


def test_a_group_starts_at_once_and_ends_together(alias):
    results = group(*(mark(number) for number in range(3))).enqueue()
    assert plan_of(alias, results.workflow) == ([(number, "READY", 1, None) for number in range(3)], [3])
    assert row_of(alias, results.workflow).final_step == 1


def test_a_chord_has_a_callback(alias):
    members, callback = found = chord(mark(1), mark(2), callback=mark(3)).enqueue()
    assert isinstance(found, tuple)
    assert [result.args for result in (*members, callback)] == [[1], [2], [3]]
    assert plan_of(alias, found.workflow) == (
        [(1, "READY", 1, None), (2, "READY", 1, None), (3, "WAITING", 2, 1)],
        [2, 1],
    )
    row = row_of(alias, found.workflow)
    assert (row.expected_count, row.callback_result_id, row.final_step) == (3, callback.result_id, 2)


NESTED = {
    "a group in a chain": (
        lambda: chain(mark("a"), group(mark("b"), mark("c")), mark("d")),
        "a:1 b:2<1 c:2<1 d:3<2",
    ),
    "a chain in a chord": (
        lambda: chord(group(chain(mark("a"), mark("b")), mark("c")), callback=mark("d")),
        "a:1 b:2<1 c:2 d:3<2",
    ),
    "a chain in a chain": (lambda: chain(chain(mark("a"), mark("b")), mark("c")), "a:1 b:2<1 c:3<2"),
    "a chord in a chain": (
        lambda: chain(mark("a"), chord(mark("b"), mark("c"), callback=mark("d")), mark("e")),
        "a:1 b:2<1 c:2<1 d:3<2 e:4<3",
    ),
    "a callback of several": (
        lambda: chord(mark("a"), callback=group(mark("b"), chain(mark("c"), mark("d")))),
        "a:1 b:3<1 c:2<1 d:3<2",
    ),
    "a group of chains": (
        lambda: group(chain(mark("a"), mark("b")), chain(mark("c"), mark("d"))),
        "a:1 b:3<1 c:2 d:3<2",
    ),
    "what is empty is passed over": (
        lambda: chain(
            group(), mark("a"), chain(), chord(callback=mark("b")), group(chain()), mark("c"), group()
        ),
        "a:1 b:2<1 c:3<2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NESTED)
def test_items_may_be_nested(alias, name):
    make, wanted = NESTED[name]
    workflow = make().enqueue().workflow
    rows, pending = plan_of(alias, workflow)
    found = [f"{arg}:{step}" + (f"<{after}" if after else "") for arg, _, step, after in rows]
    assert found == wanted.split()
    assert all((status == "WAITING") == bool(after) for _, status, _, after in rows)
    assert pending == [sum(step == number for _, _, step, _ in rows) for number in range(1, len(pending) + 1)]
    assert row_of(alias, workflow).final_step == len(pending)


def test_results_are_nested_as_the_items_are(alias):
    answer = chain(
        mark(1), group(mark(2), chain(mark(3))), chord(mark(4), callback=mark(5)), group()
    ).enqueue()
    first, (second, (third,)), ((fourth,), fifth), nothing = answer
    assert [each.args for each in (first, second, third, fourth, fifth)] == [[1], [2], [3], [4], [5]]
    assert nothing == []
    assert answer[1].workflow == answer.workflow


def test_nothing_to_enqueue(alias):
    for results in (chain().enqueue(), group(on_failure=tasks.noop).enqueue(), chain(group()).enqueue()):
        assert results == ([] if not results else [[]])
        assert results.workflow is None
    assert empty(alias)


def test_a_chord_without_members_is_its_callback(alias):
    members, callback = chord(callback=call(tasks.echo, result_of())).enqueue()
    assert (members, callback.raw_status) == ([], "READY")
    assert callback.args == [RunResults(())]
    assert TaskRun.objects.using(alias).get().step == 1


def test_each_task_keeps_its_options(alias):
    urgent = tasks.with_options.using(priority=7, queue_name="mail", expires_in=timedelta(hours=1))
    later = call(tasks.mark, 1, run_after=timedelta(hours=1), priority=5)
    results = group(urgent, later, (tasks.limited_above, [3])).enqueue()
    one, two, three = TaskRun.objects.using(alias).order_by("result_id")
    assert (one.queue_name, one.priority, one.max_attempts, one.timeout_seconds) == ("mail", 7, 5, 8)
    assert (one.lock_key, one.expires_at - one.enqueued_at) == ("the-lock", timedelta(hours=1))
    assert (two.priority, two.gate, two.spec_json["args"]) == (5, 1, [1])
    assert (three.concurrency_key, three.concurrency_limit, three.gate) == ("account:3", 2, 2)
    assert results[1].task.priority == 5


def test_members_are_nobodys_duplicates(alias):
    unique = tasks.mark.using(dedup=True)
    before = unique.enqueue(1)
    results = group((unique, [1]), (unique, [1]), (tasks.mark, [1])).enqueue()
    assert len({before.result_id, *(result.result_id for result in results)}) == 4
    assert not any(result.duplicate for result in results)
    assert not TaskRun.objects.using(alias).filter(workflow_id__isnull=False, dedup__gt=0).exists()
    assert unique.enqueue(1).duplicate


def test_what_happens_on_failure_waits_outside_of_the_counts(alias):
    results = chain(mark(1), policy="continue", on_failure=call(tasks.mark, 9)).enqueue()
    row = row_of(alias, results.workflow)
    assert (row.expected_count, row.policy) == (1, "continue")
    assert row.failure_result_id == results.on_failure.result_id
    run = TaskRun.objects.using(alias).get(pk=row.failure_result_id)
    assert (run.status, run.step, run.after_step, run.workflow_id) == (
        "WAITING", None, None, row.workflow_id,
    )  # fmt: skip


@committed
def test_a_workflow_vanishes_with_the_callers_transaction(alias):
    with transaction.atomic(using=alias):
        chord(mark(1), callback=mark(2)).enqueue()
        transaction.set_rollback(True, using=alias)
    assert empty(alias)


@committed
def test_nothing_is_stored_when_a_member_is_refused(alias):
    """Whether that is known before the ids are taken or only then, the caller's transaction goes on."""
    with transaction.atomic(using=alias):
        for refused in ((tasks.echo, [object()]), (tasks.echo, [[result_of(), object()]])):
            with pytest.raises(UnsupportedArgument, match=r"args\[0\]"):
                chain(mark(1), refused).enqueue()
        kept = tasks.mark.enqueue(1)
    assert [run.pk for run in TaskRun.objects.using(alias).all()] == [kept.result_id]
    assert not WorkflowRun.objects.using(alias).exists()


@committed
def test_ids_that_are_taken_lose_no_member(settings):
    """On SQLite the table itself knows the next id."""
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    first = tasks.mark.enqueue(0).result_id
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('task_runs', 'result_id'), %s, false)", [first])
    with pytest.raises(IntegrityError, match=r"the sequence .* is behind the table"):
        group(mark(1), mark(2)).enqueue()
    assert [run.pk for run in TaskRun.objects.using("postgres").all()] == [first]


def test_ids_follow_those_of_before(alias):
    before = [tasks.mark.enqueue(number).result_id for number in range(3)]
    TaskRun.objects.using(alias).filter(pk=before[-1]).delete()
    ids = [result.result_id for result in group(mark(1), mark(2)).enqueue()]
    assert ids == [before[-1] + 1, before[-1] + 2]
    assert tasks.mark.enqueue(9).result_id == before[-1] + 3


@committed
def test_receivers_hear_of_each_run(alias):
    heard = []

    def hear(sender, task_result, **kwargs):
        heard.append((sender, task_result.id, TaskRun.objects.using(alias).count()))

    task_enqueued.connect(hear)
    try:
        (member,), callback = found = chord(mark(1), callback=mark(2), on_failure=tasks.noop).enqueue()
    finally:
        task_enqueued.disconnect(hear)
    ids = [member.id, callback.id, found.on_failure.id]
    assert heard == [(type(task_backends["default"]), id_, 3) for id_ in ids]


@committed
def test_from_a_coroutine(alias):
    results = async_to_sync(chain(mark(1), call(tasks.mark, result_of())).aenqueue)()
    assert [result.raw_status for result in results] == ["READY", "WAITING"]
    assert results[1].args == [RunResults(results[0].result_id)]
    assert async_to_sync(results.workflow.astatus)().expected == 2


@committed
def test_thousands_of_members(alias):
    members, callback = found = chord(
        *(mark(number) for number in range(5000)), callback=call(tasks.echo, result_of())
    ).enqueue()
    ids = [member.result_id for member in members]
    assert ids == sorted(ids)
    assert [member.args for member in members[::1000]] == [[number] for number in range(0, 5000, 1000)]
    assert TaskRun.objects.using(alias).get(pk=callback.result_id).spec_json["args"] == [
        {"__reproq_type__": "result", "ids": ids}
    ]
    state = found.workflow.status()
    assert (state.expected, state.unfinished, state.is_finished) == (5001, 5001, False)


@committed
def test_many_steps(alias):
    results = chain(*(call(tasks.mark, result_of() if number else 0) for number in range(3000))).enqueue()
    assert WorkflowStep.objects.using(alias).count() == 3000
    last = TaskRun.objects.using(alias).get(pk=results[-1].result_id)
    assert (last.step, last.after_step) == (3000, 2999)
    assert results[-1].args == [RunResults(results[-2].result_id)]


def test_the_statements_do_not_grow_with_the_members(alias, django_assert_max_num_queries):
    with django_assert_max_num_queries(12 if alias == "postgres" else 1010, using=alias):
        group(*(mark(number) for number in range(1000))).enqueue()


class TestRefusals:
    """What is no workflow, and why."""

    @pytest.mark.parametrize(
        "item", [len, "x", {}, 1, (tasks.mark, 1), (tasks.mark, [], []), (tasks.mark, [], {}, 1), None]
    )
    def test_what_is_no_item(self, item):
        with pytest.raises(TypeError, match="is no item of a workflow: an item is a task"):
            group(item)

    def test_a_generator_must_be_unpacked(self):
        with pytest.raises(TypeError, match=r"group\(\*items\)"):
            group(mark(number) for number in range(3))

    def test_options_belong_to_the_outermost(self):
        for inner in (group(policy="continue"), chain(on_failure=tasks.noop)):
            with pytest.raises(InvalidWorkflow, match="give them to the outermost"):
                chain(inner)

    def test_an_unknown_policy(self):
        with pytest.raises(InvalidWorkflow, match='"fail" or "continue", not \'stop\''):
            chain(policy="stop")

    def test_on_failure_is_one_run(self):
        with pytest.raises(TypeError, match="one task or call"):
            chain(on_failure=chain(tasks.noop))

    def test_what_is_no_task(self):
        with pytest.raises(TypeError, match="is the function a @task"):
            call(len, 1)

    def test_arguments_that_do_not_fit(self, alias):
        with pytest.raises(TypeError, match=r"testapp\.tasks\.add: missing a required argument"):
            chain(mark(1), (tasks.add, [1])).enqueue()
        assert empty(alias)

    def test_a_task_that_its_backend_refuses(self, alias):
        lost = tasks.noop.using(queue_name="mail")
        object.__setattr__(lost, "queue_name", "nowhere")
        with pytest.raises(InvalidTask, match="wants the queue 'nowhere'"):
            chain(mark(1), lost).enqueue()
        assert empty(alias)

    def test_one_workflow_lives_in_one_database(self, settings):
        settings.REPROQ_QUEUE_DATABASES = {"mail": "postgres"}
        with pytest.raises(InvalidTask, match=r"in one database.*'default'.*'mail' in 'postgres'"):
            chain(tasks.noop, (tasks.mark.using(queue_name="mail"), [1])).enqueue()
        assert empty("default")
        assert empty("postgres")

    def test_a_backend_of_another_make(self, settings):
        settings.TASKS = settings.TASKS | {
            "other": {"BACKEND": "django.tasks.backends.dummy.DummyBackend", "QUEUES": []}
        }
        with pytest.raises(InvalidTask, match=r"DummyBackend knows no workflows"):
            chain(tasks.noop.using(backend="other")).enqueue()


class TestResultsOfSteps:
    """Which runs a placeholder means."""

    def test_of_what_comes_before(self, alias):
        first, (second, third), fourth, ((fifth,), sixth), seventh = chain(
            mark(1),
            group(call(tasks.echo, result_of()), mark(2)),
            call(tasks.echo, {"deep": [result_of(), (1, result_of())]}),
            chord(call(tasks.echo, value=result_of()), callback=call(tasks.echo, result_of())),
            call(tasks.echo, result_of()),
        ).enqueue()
        assert second.args == [RunResults(first.result_id)]
        both = RunResults((second.result_id, third.result_id))
        assert fourth.args == [{"deep": [both, [1, both]]}]
        assert fifth.kwargs == {"value": RunResults(fourth.result_id)}
        assert sixth.args == [RunResults((fifth.result_id,))]
        assert seventh.args == [RunResults(sixth.result_id)]
        stored = TaskRun.objects.using(alias).get(pk=sixth.result_id)
        assert stored.spec_json["args"] == [{"__reproq_type__": "result", "ids": [fifth.result_id]}]
        sixth.refresh()
        assert tasks.echo.get_result(sixth.id).args == sixth.args

    def test_of_a_step_that_is_named(self, alias):
        one, pair = call(tasks.mark, 1), group(chain(mark(2), mark(3)), mark(4))
        inner = chord(pair, callback=mark(5))
        results = chain(
            one, inner, mark(6), call(tasks.noop, result_of(one), result_of(pair), result_of(inner))
        )
        first, ((((_, third), fourth),), fifth), _, last = results.enqueue()
        assert last.args == [
            RunResults(first.result_id),
            RunResults((third.result_id, fourth.result_id)),
            RunResults(fifth.result_id),
        ]

    def test_on_failure_may_ask_for_any(self, alias):
        one, two = call(tasks.mark, 1), call(tasks.mark, 2)
        results = group(one, two, on_failure=call(tasks.echo, [result_of(two), result_of(one)])).enqueue()
        assert results.on_failure.args == [[RunResults(result.result_id) for result in reversed(results)]]
        with pytest.raises(InvalidWorkflow, match="nothing comes before it"):
            group(one, on_failure=call(tasks.echo, result_of())).enqueue()

    def test_the_same_item_twice_refers_to_its_own_neighbours(self, alias):
        inner = chain(tasks.noop, call(tasks.echo, result_of()))
        (first, second), (third, fourth) = group(inner, inner).enqueue()
        assert second.args == [RunResults(first.result_id)]
        assert fourth.args == [RunResults(third.result_id)]

    def refused(self, workflow, reason):
        with pytest.raises(InvalidWorkflow, match=rf"call\(testapp.tasks.echo\) takes .*{reason}"):
            workflow.enqueue()

    def test_that_cannot_be_there(self, alias):
        one = call(tasks.mark, 1)
        asks = call(tasks.echo, result_of(one))
        self.refused(chain(tasks.noop, asks), "that is no item of this workflow")
        self.refused(chain(asks, one), "that comes after it")
        self.refused(group(one, asks), "that runs beside it")
        self.refused(chain(tasks.noop, chord(one, chain(tasks.noop, asks), callback=tasks.noop)), "beside it")
        self.refused(chord(asks, callback=one), "that comes after it")
        self.refused(chain(one, one, asks), "in this workflow 2 times")
        self.refused(chain(call(tasks.echo, result_of())), "nothing comes before it")
        self.refused(group(call(tasks.echo, result_of())), "nothing comes before it")
        nothing = chain()
        self.refused(chain(nothing, call(tasks.echo, result_of(nothing))), "empty chain")
        asks = call(tasks.echo, result_of(asks_itself := group(mark(1))))
        asks_itself.items = (asks,)
        self.refused(asks_itself, "that it is itself a part of")
        assert empty(alias)

    @pytest.mark.parametrize("step", [tasks.noop, (tasks.noop, []), 17, "x"])
    def test_of_what_is_no_step(self, step):
        with pytest.raises(TypeError, match=r"takes a call\(\), chain, group or chord"):
            result_of(step)

    def test_outside_of_a_workflow(self, alias):
        with pytest.raises(UnsupportedArgument, match=r"args\[0\] is a result_of\(\)"):
            tasks.echo.enqueue(result_of())

    def test_no_key_can_be_made_of_it(self, alias):
        with pytest.raises(TypeError, match="a key of a run must not depend on one"):
            chain(mark(1), (tasks.limited_above, [result_of()])).enqueue()
        assert empty(alias)


class TestHandle:
    """What a site asks of a workflow as a whole."""

    def test_it_is_found_by_its_id(self, alias):
        workflow = chain(mark(1)).enqueue().workflow
        assert Workflow.get(workflow.id).id == workflow.id
        with pytest.raises(WorkflowRun.DoesNotExist, match="there is no workflow 0000"):
            Workflow.get("00000000-0000-0000-0000-000000000000")
        with pytest.raises(ValueError, match="badly formed"):
            Workflow.get("x")

    def test_it_is_found_in_any_database(self, settings):
        settings.REPROQ_QUEUE_DATABASES = {"mail": "postgres"}
        workflow = chain(tasks.noop.using(queue_name="mail")).enqueue().workflow
        assert workflow.db_alias == "postgres"
        assert Workflow.get(workflow.id) == workflow

    def test_it_is_found_by_its_runs(self, alias):
        results = chain(mark(1)).enqueue()
        assert Workflow.of(results[0]) == results.workflow
        assert Workflow.of(tasks.mark.get_result(results[0].id)) == results.workflow
        assert Workflow.of(tasks.noop.enqueue()) is None

    def test_its_status_is_its_row(self, alias, django_assert_num_queries):
        workflow = group(mark(1), mark(2), mark(3)).enqueue().workflow
        WorkflowRun.objects.using(alias).update(status="FAILED", success_count=1, failure_count=1)
        with django_assert_num_queries(1, using=alias):
            state = workflow.status()
        assert (state.status, state.succeeded, state.failed, state.unfinished) == ("FAILED", 1, 1, 1)
        assert state.is_finished

    def test_its_culprits(self, alias):
        results = chain(mark(1), mark(2)).enqueue()
        assert results.workflow.culprits() == []
        WorkflowStep.objects.using(alias).filter(step=1).update(failed=1, culprit=results[0].result_id)
        assert results.workflow.culprits() == [results[0].id]

    def test_a_workflow_that_has_been_pruned(self, alias):
        workflow = chain(mark(1)).enqueue().workflow
        WorkflowRun.objects.using(alias).all().delete()
        for ask in (workflow.status, workflow.wait, workflow.cancel):
            with pytest.raises(WorkflowRun.DoesNotExist, match=workflow.id):
                ask()

    def test_waiting_gives_up(self, alias):
        results = chain(mark(1), mark(2)).enqueue()
        with pytest.raises(TimeoutError, match="is not over after 0 s; this code is in a transaction"):
            results.workflow.wait(timeout=0)
        with pytest.raises(TimeoutError, match="WAITING after 0 s; it waits for other runs of its workflow"):
            results[1].wait(timeout=0)

    @committed
    def test_waiting_says_how_far_it_is(self, alias):
        workflow = chain(mark(1), mark(2)).enqueue().workflow
        with pytest.raises(TimeoutError, match="2 of 2 runs have not ended"):
            async_to_sync(workflow.await_end)(timeout=0.05, poll_interval=0.01)

    def test_cancelling_it_cancels_all_that_is_left(self, alias):
        results = chain(group(mark(1), mark(2), mark(3)), mark(4), on_failure=tasks.noop).enqueue()
        done, running, ready = results[0]
        runs = TaskRun.objects.using(alias)
        runs.filter(pk=done.result_id).update(status="SUCCESSFUL")
        runs.filter(pk=running.result_id).update(status="RUNNING")
        found = results.workflow.cancel()
        assert found == {
            running.result_id: "requested",
            ready.result_id: "cancelled",
            results[1].result_id: "cancelled",
            results.on_failure.result_id: "cancelled",
        }
        assert row_of(alias, results.workflow).status == "CANCELLED"
        assert results.workflow.status().is_finished
        # The trigger has told of each member, not of what is in no step.
        events = WorkflowEvent.objects.using(alias).values_list("step", "ended", "failed")
        assert sorted(events) == [(1, 1, 0), (1, 1, 1), (2, 1, 1)]
        assert results.workflow.cancel() == {}

    def test_cancelling_what_is_over_changes_nothing(self, alias):
        workflow = chain(mark(1)).enqueue().workflow
        TaskRun.objects.using(alias).update(status="FAILED")
        WorkflowRun.objects.using(alias).update(status="FAILED")
        assert workflow.cancel() == {}
        assert row_of(alias, workflow).status == "FAILED"

    @committed
    def test_a_cancellation_that_is_rolled_back(self, alias):
        workflow = chain(mark(1)).enqueue().workflow
        with transaction.atomic(using=alias):
            workflow.cancel()
            transaction.set_rollback(True, using=alias)
        assert (row_of(alias, workflow).status, TaskRun.objects.using(alias).get().status) == (
            "RUNNING",
            "READY",
        )


def test_a_run_that_its_workflow_has_ended_says_so(alias):
    result = chain(mark(1), mark(2)).enqueue()[1]
    entry = {"kind": "workflow_failed", "message": "x run 1 ended FAILED: no", "failed_result_id": 1}
    TaskRun.objects.using(alias).filter(pk=result.result_id).update(status="FAILED", errors_json=[entry])
    result.refresh()
    assert [error.exception_class for error in result.errors] == [WorkflowFailed]
    assert "ended FAILED: no" in result.errors[0].traceback


@committed
def test_nobody_else_gets_the_ids(settings, monkeypatch):
    """SQLite's are read off a table, also where a transaction does not begin as a writer."""
    connection = connections["default"]
    connection.close()
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "transaction_mode", None)
    take = workflow_enqueue._take_ids

    def take_while_others_try(alias, count):
        other = sqlite3.connect(connection.settings_dict["NAME"], timeout=0)
        with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        return take(alias, count)

    monkeypatch.setattr(workflow_enqueue, "_take_ids", take_while_others_try)
    try:
        results = group(mark(1), mark(2)).enqueue()
    finally:
        connection.close()
    assert len(results) == 2
