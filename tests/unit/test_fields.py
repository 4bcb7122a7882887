import pytest

from reproq_django.models import TaskRun

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])


def create(alias, spec, **values):
    return TaskRun.objects.using(alias).create(spec_json=spec, spec_hash="0" * 64, task_path="a.b", **values)


@pytest.mark.parametrize(
    "value", [{"n": 1e20, "a": [1, None]}, "text", '{"looks": "like JSON"}', 5, [], True]
)
def test_what_is_written_is_read(alias, value):
    run = create(alias, {"v": 1}, return_json=value)
    assert TaskRun.objects.using(alias).get(pk=run.pk).return_json == value
    TaskRun.objects.using(alias).update(return_json=value)
    assert TaskRun.objects.using(alias).values_list("return_json", flat=True).get() == value


def test_nothing_is_null(alias):
    create(alias, {"v": 1}, return_json=None)
    assert TaskRun.objects.using(alias).filter(return_json__isnull=True).get().return_json is None


def test_number_text_survives(alias):
    create(alias, {"n": 1e20})
    from django.db import connections

    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT CAST(spec_json AS TEXT) FROM task_runs")
        assert cursor.fetchone() == ('{"n":1e+20}',)


def test_keys_can_be_looked_up(alias):
    runs = TaskRun.objects.using(alias)
    TaskRun.objects.using(alias).bulk_create(
        [
            TaskRun(spec_json={"queue": "a", "deep": {"x": [1, 2]}}, spec_hash="1" * 64, task_path="a.b"),
            TaskRun(spec_json={"queue": "b", "deep": {"x": [3]}}, spec_hash="2" * 64, task_path="a.b"),
        ]
    )
    assert runs.get(spec_json__queue="a").spec_hash == "1" * 64
    assert runs.get(spec_json__deep__x__0=3).spec_hash == "2" * 64
    assert runs.filter(spec_json__deep__x__0__gte=1).count() == 2
    assert list(runs.order_by("result_id").values_list("spec_json__deep", flat=True)) == [
        {"x": [1, 2]},
        {"x": [3]},
    ]
