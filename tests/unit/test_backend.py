"""The backend as a site uses it, on both databases."""

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import DatabaseError, connections, transaction
from django.tasks import TaskResultStatus, task_backends
from django.tasks.base import TaskResult
from django.tasks.exceptions import InvalidTask, TaskResultDoesNotExist, TaskResultMismatch
from django.tasks.signals import task_enqueued
from django.utils import timezone

from reproq_django import errors
from reproq_django.backend import ReproqBackend
from reproq_django.errors import TaskUnavailable
from reproq_django.metadata import MetadataNotSaved, save_metadata
from reproq_django.models import TaskRun
from reproq_django.result import stored_copy
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])
committed = pytest.mark.django_db(databases=["default", "postgres"], transaction=True)


def end(alias, result, **values):
    TaskRun.objects.using(alias).filter(result_id=result.result_id).update(**values)


def test_the_result_of_an_enqueue(alias):
    result = tasks.add.enqueue(1, b=datetime(2030, 1, 1, tzinfo=UTC))
    assert isinstance(result, TaskResult)
    assert (result.status, result.raw_status, result.duplicate) == (TaskResultStatus.READY, "READY", False)
    assert (result.args, result.kwargs) == ([1], {"b": datetime(2030, 1, 1, tzinfo=UTC)})
    assert (result.id, result.db_alias, result.attempts, result.errors) == (
        str(result.result_id),
        alias,
        0,
        [],
    )
    again = tasks.add.get_result(result.id)
    assert again == result


def test_a_result_read_back_has_typed_arguments_and_stored_models(alias):
    user = User(pk=5)
    result = tasks.noop.enqueue(Decimal("1.10"), user)
    read = tasks.noop.get_result(result.id)
    assert read.args[0] == Decimal("1.10")
    assert read.args[1]["pk"] == "5"


def test_results_can_be_pickled(alias):
    result = tasks.echo.enqueue([UUID(int=1)])
    assert pickle.loads(pickle.dumps(result)) == result


def test_success(alias):
    result = tasks.add.enqueue(1, 2)
    now = timezone.now()
    end(
        alias,
        result,
        status="SUCCESSFUL",
        return_json={"sum": 1e20},
        worker_ids=["w"],
        started_at=now,
        finished_at=now,
    )
    with pytest.raises(ValueError, match="not finished"):
        _ = result.return_value
    result.refresh()
    assert (result.status, result.return_value, result.attempts) == (
        TaskResultStatus.SUCCESSFUL,
        {"sum": 1e20},
        1,
    )
    assert (result.started_at, result.finished_at) == (now, now)


@pytest.mark.parametrize(
    ("kind", "error"),
    [(kind, error) for kind, error in errors.RUN_ERRORS.items()] + [("unheard of", errors.RunError)],
)
def test_each_ending_has_a_class_of_its_own(alias, kind, error):
    result = tasks.noop.enqueue()
    end(alias, result, status="FAILED", errors_json=[{"kind": kind, "message": "why", "at": "2030"}])
    result.refresh()
    assert result.status == TaskResultStatus.FAILED
    assert [(entry.exception_class, entry.traceback) for entry in result.errors] == [(error, "why")]


def test_an_exception_of_the_task_keeps_its_class(alias):
    result = tasks.noop.enqueue()
    entry = {
        "kind": "app_error",
        "exception_class": "builtins.KeyError",
        "message": "'x'",
        "traceback": "Traceback ...",
    }
    end(alias, result, status="FAILED", errors_json=[entry])
    result.refresh()
    assert (result.errors[0].exception_class, result.errors[0].traceback) == (KeyError, "Traceback ...")


def test_waiting_reads_as_ready_and_cancelled_as_failed(alias):
    result = tasks.noop.enqueue()
    end(alias, result, status="WAITING")
    result.refresh()
    assert (result.status, result.raw_status) == (TaskResultStatus.READY, "WAITING")
    end(alias, result, status="CANCELLED")
    result.refresh()
    assert (result.status, result.raw_status) == (TaskResultStatus.FAILED, "CANCELLED")
    assert [entry.exception_class for entry in result.errors] == [errors.TaskCancelled]


@pytest.mark.parametrize(
    ("kind", "error"), [("discarded", errors.TaskDiscarded), ("replaced", errors.TaskReplaced)]
)
def test_a_run_that_its_limit_ended_says_so_and_nothing_else(alias, kind, error):
    result = tasks.noop.enqueue()
    end(alias, result, status="CANCELLED", errors_json=[{"kind": kind, "message": "why", "at": "2030"}])
    result.refresh()
    assert (result.status, result.raw_status) == (TaskResultStatus.FAILED, "CANCELLED")
    assert [(entry.exception_class, entry.traceback) for entry in result.errors] == [(error, "why")]


def test_unknown_and_foreign_ids(alias, backend):
    result = tasks.noop.enqueue()
    with pytest.raises(TaskResultMismatch):
        tasks.add.get_result(result.id)
    for unknown in ("999999", "no number", "nowhere:1"):
        with pytest.raises(TaskResultDoesNotExist):
            backend.get_result(unknown)


@pytest.mark.parametrize(
    "path", ["gone.tasks.noop", "testapp.tasks.gone", "testapp.tasks.witness", "antigravity.geohash"]
)
def test_results_of_code_that_is_gone_can_be_read(alias, backend, path):
    result = tasks.noop.enqueue()
    end(
        alias,
        result,
        status="SUCCESSFUL",
        return_json=7,
        task_path=path,
        queue_name="a queue that is gone too",
    )
    read = backend.get_result(result.id)
    assert (read.return_value, read.task.module_path) == (7, path)
    with pytest.raises(TaskUnavailable):
        read.task.call()
    with pytest.raises(TaskResultMismatch):
        tasks.noop.get_result(result.id)


def test_wait_returns_when_the_run_has_ended_and_raises_when_time_is_up(alias):
    result = tasks.noop.enqueue()
    with pytest.raises(TimeoutError, match="is READY"):
        result.wait(timeout=0.05)
    with pytest.raises(TimeoutError):
        async_to_sync(result.await_result)(timeout=0.05)
    end(alias, result, status="SUCCESSFUL", return_json=1)
    assert result.wait(timeout=5) is result
    assert result.return_value == 1


def test_a_duplicate_is_the_run_that_stands_for_it(alias):
    first = tasks.noop.enqueue(1)
    TaskRun.objects.using(alias).update(metadata_json={"a": 1})
    second = tasks.noop.enqueue(1)
    assert (second.id, second.duplicate, second.metadata) == (first.id, True, {"a": 1})


def test_signals_have_djangos_sender_and_cannot_fail_an_enqueue(alias):
    heard = []

    def receiver(sender, task_result, **_):
        heard.append((sender, task_result.id))
        raise RuntimeError("a receiver's own trouble")

    task_enqueued.connect(receiver)
    try:
        result = tasks.noop.enqueue(1)
        tasks.noop.enqueue(1)
    finally:
        task_enqueued.disconnect(receiver)
    assert heard == [(ReproqBackend, result.id)]


def test_nothing_is_sent_where_nobody_listens(alias, monkeypatch):
    sent = []
    monkeypatch.setattr(task_enqueued, "send_robust", lambda *_, **__: sent.append(1))
    tasks.noop.enqueue(1)
    assert sent == []


def test_django_logs_each_enqueue_where_that_is_wanted(alias, backend, caplog):
    with caplog.at_level("DEBUG", "django.tasks"):
        results = backend.bulk_enqueue([(tasks.echo, [1]), (tasks.echo, [2])])
    lines = [record.getMessage() for record in caplog.records if record.name == "django.tasks"]
    assert lines == [
        f"Task id={result.id} path=testapp.tasks.echo enqueued backend=default" for result in results
    ]


def test_a_task_that_is_refused_is_refused_each_time(backend):
    bad = stored_copy(tasks.noop, max_attempts=-1)
    for _ in range(2):
        with pytest.raises(InvalidTask, match="max_attempts"):
            backend.enqueue(bad)


def test_a_backoff_may_change_between_enqueues(alias, backend):
    policy = {"base": 1}
    patient = tasks.noop.using(backoff=policy)
    first = backend.enqueue(patient)
    policy["base"] = 2
    second = backend.enqueue(patient)
    stored = TaskRun.objects.using(alias).in_bulk([first.result_id, second.result_id])
    bases = [stored[result.result_id].spec_json["exec"]["backoff"]["base"] for result in (first, second)]
    assert bases == [1, 2]


def test_the_queues_of_today_decide(alias, settings):
    tasks.noop.enqueue(1)
    settings.TASKS = {"default": settings.TASKS["default"] | {"QUEUES": ["other"]}}
    with pytest.raises(InvalidTask, match="other"):
        tasks.noop.enqueue(2)


def test_many_tasks_do_not_pile_up(alias, backend, monkeypatch):
    monkeypatch.setattr("reproq_django.backend._MAX_BUILDERS", 3)
    backend.bulk_enqueue([(tasks.echo.using(priority=number), [number]) for number in range(10)])
    assert len(backend._builders) <= 3


def test_bulk_enqueue_takes_all_forms_in_order(alias, backend):
    results = backend.bulk_enqueue(
        [
            tasks.limited_below,
            (tasks.echo, [5]),
            (tasks.add, (1,), {"b": 2, "priority": 9}),
            (tasks.echo, [5]),
        ]
    )
    assert [result.task.name for result in results] == ["limited_below", "echo", "add", "echo"]
    assert [result.duplicate for result in results] == [False, False, False, True]
    assert results[2].task.priority == 9
    assert backend.bulk_enqueue([]) == []


def test_bulk_enqueue_stores_nothing_when_one_is_refused(alias, backend):
    with pytest.raises(TypeError):
        backend.bulk_enqueue([tasks.noop, (tasks.add, [1])])
    assert not TaskRun.objects.using(alias).exists()


def test_bulk_enqueue_over_two_databases(settings, backend):
    settings.REPROQ_QUEUE_DATABASES = {"reports-*": "postgres"}
    reports = tasks.echo.using(queue_name="reports-eu")
    results = backend.bulk_enqueue([(tasks.echo, [1]), (reports, [2]), (tasks.echo, [3])])
    assert [result.db_alias for result in results] == ["default", "postgres", "default"]
    assert [result.id.partition(":")[0] for result in results] == ["default", "postgres", "default"]
    assert [backend.get_result(result.id).args for result in results] == [[1], [2], [3]]


@committed
def test_the_async_path(alias, backend):
    heard = []

    async def receiver(sender, task_result, **_):
        heard.append(task_result.id)

    async def use():
        result = await tasks.add_async.aenqueue(1, 2)
        many = await backend.abulk_enqueue([(tasks.add_async, [n, n]) for n in range(3)])
        await backend.asave_metadata(result.id, {"step": 1})
        read = await tasks.add_async.aget_result(result.id)
        await result.arefresh()
        return result, many, read

    task_enqueued.connect(receiver)
    try:
        result, many, read = async_to_sync(use)()
    finally:
        task_enqueued.disconnect(receiver)
    assert read.metadata == result.metadata == {"step": 1}
    assert heard == [result.id, *(one.id for one in many)]


def test_metadata_is_replaced_and_fenced(alias, backend):
    result = tasks.noop.enqueue()
    backend.save_metadata(result.id, {"a": 1, "b": 2})
    backend.save_metadata(result.id, {"c": "ž"})
    result.refresh()
    assert result.metadata == {"c": "ž"}
    end(alias, result, status="RUNNING", epoch=3)
    save_metadata(alias, result.result_id, {"d": 1}, epoch=3)
    with pytest.raises(MetadataNotSaved):
        save_metadata(alias, result.result_id, {"e": 1}, epoch=2)
    end(alias, result, status="SUCCESSFUL")
    with pytest.raises(MetadataNotSaved):
        save_metadata(alias, result.result_id, {"f": 1}, epoch=3)
    result.refresh()
    assert result.metadata == {"d": 1}
    with pytest.raises(TaskResultDoesNotExist):
        backend.save_metadata("999999", {})
    for bad in ([1], {"x": object()}, {"x": timezone.now()}, {"x": [{"\0": 1}]}, {"x": "\ud800"}):
        with pytest.raises(TypeError):
            backend.save_metadata(result.id, bad)
    literal = {"x": r"\u0000", "__reproq_type__": "uuid"}
    backend.save_metadata(result.id, literal)
    result.refresh()
    assert result.metadata == literal


def test_a_wait_in_vain_says_what_may_be_missing(alias):
    with pytest.raises(TimeoutError, match="in a transaction"):
        tasks.noop.enqueue().wait(timeout=0)


@committed
def test_a_wait_without_a_worker_asks_for_one(alias):
    with pytest.raises(TimeoutError, match="does a worker run for the queue 'default'"):
        tasks.noop.enqueue().wait(timeout=0)
    with pytest.raises(TimeoutError, match="it is to start at"):
        tasks.noop.using(run_after=timedelta(hours=1)).enqueue().wait(timeout=0)


@pytest.mark.parametrize(
    "item", [5, (tasks.add, "ab"), (tasks.add, {"a": 1, "b": 2}), (tasks.add, (), 3), ("x", ())]
)
def test_bulk_items_of_another_form_are_refused(backend, item):
    with pytest.raises(TypeError, match="cannot enqueue"):
        backend.bulk_enqueue([item])


def test_an_unknown_queue_is_told_with_those_there_are():
    with pytest.raises(InvalidTask, match=r"'mial'.*'mail'"):
        tasks.noop.using(queue_name="mial")


def test_missing_tables_are_told_with_the_remedy(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("ALTER TABLE task_runs RENAME TO elsewhere")
    with pytest.raises(DatabaseError) as caught, transaction.atomic(using=alias):
        tasks.noop.enqueue()
    assert "run `manage.py migrate" in caught.value.__notes__[0]


def test_an_old_schema_is_told_with_the_remedy(settings):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    with connections["postgres"].cursor() as cursor:
        cursor.execute("DROP FUNCTION reproq_insert_runs")
    with pytest.raises(DatabaseError) as caught, transaction.atomic(using="postgres"):
        tasks.noop.enqueue()
    assert "run `manage.py migrate --database postgres`" in caught.value.__notes__[0]


def test_the_app_has_to_be_installed():
    code = (
        "from django.conf import settings; import django\n"
        "settings.configure(INSTALLED_APPS=[], TASKS={'default': {'BACKEND': "
        "'reproq_django.backend.ReproqBackend'}})\n"
        "django.setup()\n"
        "from django.tasks import task_backends\n"
        "task_backends['default'].get_result(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert 'add "reproq_django" to INSTALLED_APPS' in done.stderr


def test_the_four_capabilities_and_queues():
    backend = task_backends["default"]
    assert backend.supports_defer
    assert backend.supports_async_task
    assert backend.supports_get_result
    assert backend.supports_priority
    with pytest.raises(InvalidTask, match="nowhere"):
        tasks.noop.using(queue_name="nowhere")


def test_without_use_tz_times_are_local_and_naive(alias, settings):
    settings.USE_TZ = False
    result = tasks.noop.enqueue(run_after=timedelta(hours=1))
    local = datetime.now()  # noqa: DTZ005
    assert abs(result.enqueued_at - local) < timedelta(minutes=1)
    assert result.task.run_after.tzinfo is None
