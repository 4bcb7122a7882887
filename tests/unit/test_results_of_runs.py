"""Results of runs as arguments of others: how they are stored and what the task gets, on both databases."""

import json

import pytest
from django.contrib.auth.models import User

from reproq_django.conf import BackendOptions
from reproq_django.errors import InvalidSpec
from reproq_django.models import TaskRun
from reproq_django.references import RunResults
from reproq_django.serialization import MARKER, canonical_json, decode_arguments, encode
from reproq_django.spec import build
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])


def ended(alias, value, status="SUCCESSFUL"):
    """The id of a run that has returned ``value``."""
    result = tasks.noop.using(dedup=False).enqueue()
    TaskRun.objects.using(alias).filter(pk=result.result_id).update(status=status, return_json=value)
    return result.result_id


def spec_of(*args, mode="typed", **kwargs):
    options = BackendOptions(arguments=mode)
    return json.loads(build(tasks.noop, args, kwargs, backend_alias="default", options=options).spec_json)


@pytest.mark.parametrize("mode", ["typed", "compat"])
def test_a_placeholder_is_stored_as_ids_and_read_back_as_such(mode):
    value = RunResults((17, (18, 19)))
    spec = spec_of([value], key=RunResults(5), mode=mode)
    assert spec["args"] == [[{MARKER: "result", "ids": [17, [18, 19]]}]]
    assert spec["kwargs"] == {"key": {MARKER: "result", "ids": 5}}
    assert decode_arguments(spec, None) == ([[value]], {"key": RunResults(5)})


@pytest.mark.parametrize("mode", ["typed", "compat"])
def test_data_cannot_pose_as_a_placeholder(mode):
    data = {MARKER: "result", "ids": 17}
    spec = spec_of(data, mode=mode)
    assert decode_arguments(spec, None) == ([data], {})


@pytest.mark.parametrize("mode", ["typed", "compat"])
def test_the_task_gets_what_the_runs_have_returned(alias, mode, django_assert_num_queries):
    one, two, three = ended(alias, {"sum": 1e20}), ended(alias, None), ended(alias, "žluť")
    four = ended(alias, 4)
    spec = spec_of(
        RunResults(one), [RunResults((three, (two, one)))], {MARKER: RunResults(four), "x": RunResults(())},
        last=RunResults(three), mode=mode,
    )  # fmt: skip
    with django_assert_num_queries(1, using=alias):
        args, kwargs = decode_arguments(spec, alias)
    assert args == [{"sum": 1e20}, [["žluť", [None, {"sum": 1e20}]]], {MARKER: 4, "x": []}]
    assert kwargs == {"last": "žluť"}
    args[0]["sum"] = 0
    assert args[1][0][1][1] == {"sum": 1e20}, "a value of its own for each place"


def test_what_a_run_returned_is_data_whatever_it_looks_like(alias):
    value = {MARKER: "model", "app_label": "auth", "model": "user", "pk": "1"}
    assert decode_arguments(spec_of(RunResults(ended(alias, value))), alias) == ([value], {})


def test_arguments_without_a_placeholder_ask_nobody(alias, django_assert_num_queries):
    with django_assert_num_queries(0, using=alias):
        decode_arguments(spec_of({MARKER: 1}, [1, {"x": None}]), alias)


def test_models_stay_what_they_were(alias):
    user = User.objects.using(alias).create(username="ada")
    spec = spec_of(user, RunResults(ended(alias, 1)))
    assert decode_arguments(spec, alias) == ([user, 1], {})


@pytest.mark.parametrize("status", ["FAILED", "CANCELLED", "READY", "WAITING", "RUNNING"])
def test_a_run_that_has_not_succeeded_gives_none(alias, status):
    assert decode_arguments(spec_of(RunResults(ended(alias, 5, status))), alias) == ([None], {})


def test_a_run_that_has_been_deleted_is_an_invalid_spec(alias):
    spec = spec_of(1, {"x": [RunResults((ended(alias, 1), 424242))]})
    with pytest.raises(InvalidSpec, match=r"args\[1\]\['x'\]\[0\]\[1\] is the result of run 424242"):
        decode_arguments(spec, alias)


@pytest.mark.parametrize("ids", ["17", None, True, 1.5, [17, "x"], {"a": 1}])
def test_ids_that_are_none(alias, ids):
    for using in (None, alias):
        with pytest.raises(InvalidSpec, match=r"args\[0\] is no result"):
            decode_arguments({"args": [{MARKER: "result", "ids": ids}]}, using)


def test_thousands_of_results_are_one_query(alias, django_assert_num_queries):
    first = ended(alias, 0)
    runs = [TaskRun(spec_json={}, spec_hash="h", task_path="a.b", status="SUCCESSFUL", return_json=number)
            for number in range(1, 40_000)]  # fmt: skip
    TaskRun.objects.using(alias).bulk_create(runs, batch_size=1000)
    ids = TaskRun.objects.using(alias).order_by("pk").values_list("pk", flat=True)
    assert ids[0] == first
    spec = {"args": [encode(RunResults(tuple(ids)), "x")]}
    with django_assert_num_queries(1, using=alias):
        assert decode_arguments(json.loads(canonical_json(spec)), alias)[0] == [list(range(40_000))]
