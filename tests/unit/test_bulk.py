"""Bulk enqueues of several statements: on PostgreSQL, specs are made while the server inserts others."""

import asyncio
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import DataError, connections, transaction
from django.utils.functional import SimpleLazyObject
from psycopg.pq import PipelineStatus

from reproq_django import enqueue, pipelining
from reproq_django.conf import BackendOptions
from reproq_django.enqueue import insert_runs
from reproq_django.models import TaskRun
from reproq_django.spec import SpecBuilder, build
from testapp import tasks

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])
committed = pytest.mark.django_db(databases=["default", "postgres"], transaction=True)

COUNT = 25


@pytest.fixture(autouse=True)
def small_statements(monkeypatch):
    monkeypatch.setattr(enqueue, "MAX_ROWS", 10)


@pytest.fixture
def built(monkeypatch):
    """Of each spec that is made, in order: whether a statement was under way."""
    seen = []
    plain = SpecBuilder.build

    def build(self, *arguments):
        driver = connections["postgres"].connection
        seen.append(driver is not None and driver.pgconn.pipeline_status != PipelineStatus.OFF)
        return plain(self, *arguments)

    monkeypatch.setattr(SpecBuilder, "build", build)
    return seen


class Interrupted(KeyboardInterrupt):
    """Raised by a signal, as the executor raises TaskCancelled."""


def numbers(alias):
    runs = TaskRun.objects.using(alias).order_by("result_id")
    return list(runs.values_list("spec_json__args__0", flat=True))


def test_specs_are_made_while_the_server_is_at_work(settings, backend, built):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    results = backend.bulk_enqueue([(tasks.echo, [number]) for number in range(COUNT)])
    assert [result.args for result in results] == [[number] for number in range(COUNT)]
    assert numbers("postgres") == list(range(COUNT))
    # With the first of the second statement it is known that there is a second.
    assert built == [False] * 11 + [True] * 14


@pytest.mark.parametrize("count", [10, 11])
def test_one_statement_is_waited_for(settings, backend, built, count):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    backend.bulk_enqueue([(tasks.echo, [number]) for number in range(count)])
    assert built == [False] * count


@committed
def test_the_async_path(alias, backend):
    results = async_to_sync(backend.abulk_enqueue)([(tasks.echo, [number]) for number in range(COUNT)])
    assert [result.args for result in results] == [[number] for number in range(COUNT)]
    assert numbers(alias) == list(range(COUNT))


@pytest.mark.parametrize(
    "argument",
    [lambda user: user, lambda user: [{"who": SimpleLazyObject(lambda: User.objects.get(pk=user.pk))}]],
)
def test_specs_that_may_query_are_made_before(settings, backend, built, argument):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    user = User.objects.create(username="ann")
    items = [(tasks.echo, [number]) for number in range(COUNT)]
    backend.bulk_enqueue([*items, (tasks.echo, [argument(user)])])
    assert built == [False] * (COUNT + 1)


def test_a_key_that_queries_is_asked_before(settings, backend, built):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    keyed = tasks.echo.using(lock_key=lambda number: str(TaskRun.objects.using("postgres").count()))
    results = backend.bulk_enqueue([(keyed, [number]) for number in range(COUNT)])
    stored = TaskRun.objects.using("postgres").filter(pk__in=[result.result_id for result in results])
    assert set(stored.values_list("lock_key", flat=True)) == {"0"}
    assert built == [False] * COUNT


def test_items_are_read_before_anything_is_stored(alias, backend):
    def items():
        for number in range(COUNT):
            assert TaskRun.objects.using(alias).count() == 0
            yield tasks.echo, [number]

    assert len(backend.bulk_enqueue(items())) == COUNT


@committed
@pytest.mark.parametrize("place", [5, 15, COUNT])
def test_nothing_is_stored_when_a_late_one_is_refused(alias, backend, place):
    items = [(tasks.echo, [number]) for number in range(COUNT)]
    items.insert(place, (tasks.echo, [1, 2]))
    with pytest.raises(TypeError, match="too many positional arguments"):
        backend.bulk_enqueue(items)
    assert numbers(alias) == []
    with transaction.atomic(using=alias):
        backend.bulk_enqueue([(tasks.echo, ["before"])])
        with pytest.raises(TypeError, match="too many positional arguments"):
            backend.bulk_enqueue(items)
        backend.bulk_enqueue([(tasks.echo, ["after"])])
    assert numbers(alias) == ["before", "after"]


@committed
@pytest.mark.parametrize("place", [5, 15, COUNT])
def test_what_the_database_refuses_is_raised_as_ever(place):
    good = [spec_of(number) for number in range(COUNT)]
    specs = [*good[:place], replace(spec_of("bad"), spec_json="no json"), *good[place:]]
    with pytest.raises(DataError, match="invalid input syntax for type json"):
        insert_runs("postgres", specs)
    assert numbers("postgres") == []
    assert len(insert_runs("postgres", good)) == COUNT


def test_duplicates_in_all_statements(alias, backend):
    first = backend.bulk_enqueue([(tasks.echo, [number]) for number in range(0, COUNT, 2)])
    results = backend.bulk_enqueue([(tasks.echo, [number]) for number in range(COUNT)])
    assert [result.duplicate for result in results] == [number % 2 == 0 for number in range(COUNT)]
    assert [result.id for result in results[::2]] == [result.id for result in first]
    assert sorted(numbers(alias)) == list(range(COUNT))


def test_without_pipeline_mode(settings, backend, built, monkeypatch):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    monkeypatch.setattr(pipelining, "_has_pipelines", lambda driver: False)
    backend.bulk_enqueue([(tasks.echo, [number]) for number in range(COUNT)])
    assert numbers("postgres") == list(range(COUNT))
    assert built == [False] * COUNT


@pytest.fixture
def pooled(transactional_db):
    """A transaction pooler between this thread and PostgreSQL."""
    direct = connections["postgres"]
    command = [sys.executable, "-m", "bench.pooler", "transaction", str(direct.settings_dict["PORT"])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        through = direct.copy()
        through.settings_dict["HOST"] = "127.0.0.1"
        through.settings_dict["PORT"] = process.stdout.readline().strip()
        connections["postgres"] = through
        yield
        through.close()
        connections["postgres"] = direct
        process.stdin.close()


@committed
@pytest.mark.usefixtures("pooled")
def test_behind_a_transaction_pooler(settings, backend, built):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    items = [(tasks.echo, [number]) for number in range(COUNT)]
    with pytest.raises(TypeError):
        backend.bulk_enqueue([*items, (tasks.echo, [])])
    assert numbers("postgres") == []
    backend.bulk_enqueue(items)
    assert numbers("postgres") == list(range(COUNT))
    assert built[-14:] == [True] * 14


@pytest.fixture
def held_twin(settings):
    """The thread of another transaction, which holds the row that ``spec_of(15)`` would be a twin of."""
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    held, over = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(using="postgres"):
            insert_runs("postgres", [spec_of(15)])
            held.set()
            over.wait(30)
            transaction.set_rollback(True, using="postgres")
        connections["postgres"].close()

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    yield holder
    over.set()
    holder.join()


@committed
def test_an_interrupted_wait_stores_nothing_and_leaves_the_connection_usable(held_twin, backend):
    def interrupt(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(Interrupted):
            backend.bulk_enqueue([(tasks.echo, [number]) for number in range(COUNT)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert held_twin.is_alive()
    assert numbers("postgres") == []
    backend.bulk_enqueue([(tasks.echo, [number]) for number in range(15)])
    assert numbers("postgres") == list(range(15))


@committed
def test_what_is_refused_meanwhile_waits_for_nobodys_row(held_twin, backend):
    """The second statement is on its way, and waits for a twin, when the third turns out to be bad."""
    items = [(tasks.echo, [number]) for number in range(COUNT)]
    with pytest.raises(TypeError, match="too many positional arguments"):
        backend.bulk_enqueue([*items, (tasks.echo, [1, 2])])
    assert held_twin.is_alive()
    assert numbers("postgres") == []


@committed
def test_a_wrapper_that_adds_a_statement_is_served_as_before(settings, backend, built):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"

    def prepend(execute, sql, params, many, context):
        if "reproq_insert_runs" in sql:
            answer = execute(f"SELECT 1; {sql}", params, many, context)
            context["cursor"].nextset()
            return answer
        return execute(sql, params, many, context)

    with connections["postgres"].execute_wrapper(prepend):
        backend.bulk_enqueue([(tasks.echo, [number]) for number in range(COUNT)])
    assert numbers("postgres") == list(range(COUNT))
    assert built == [False] * COUNT


@committed
def test_arguments_of_an_async_bulk_are_those_of_the_call(alias, backend):
    async def changed_meanwhile():
        number = [0]
        bulk = backend.abulk_enqueue([(tasks.echo, [number])] * COUNT)
        task = asyncio.ensure_future(bulk)
        await asyncio.sleep(0)
        number[0] = 1
        return await task

    async_to_sync(changed_meanwhile)()
    assert set(map(str, numbers(alias))) == {"[0]"}


@committed
@pytest.mark.parametrize("kind", [list, iter], ids=["list", "iterator"])
def test_a_failure_half_way_spares_the_callers_transaction(kind):
    specs = [spec_of(number) for number in range(COUNT)]
    specs[15] = replace(specs[15], spec_json="no JSON")
    with transaction.atomic(using="postgres"):
        with pytest.raises(DataError):
            insert_runs("postgres", kind(specs))
        insert_runs("postgres", [spec_of(100)])
    assert numbers("postgres") == [100]


def spec_of(number):
    return build(tasks.echo, (number,), {}, backend_alias="default", options=BackendOptions())
