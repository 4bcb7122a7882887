import pytest
from django.core.checks import run_checks
from django.db import connections
from django.tasks import task_backends

from reproq_django import checks, discovery, recurring
from reproq_django.conf import BackendOptions
from reproq_django.models import PeriodicTask
from testapp import tasks

# Django's own checks look at the databases.
pytestmark = pytest.mark.django_db(databases=["default", "postgres"])


def ids(messages):
    return sorted(message.id for message in messages if (message.id or "").startswith("reproq"))


def check_options(settings, **options):
    settings.TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend", "OPTIONS": options}}
    return [message for message in run_checks() if (message.id or "").startswith("reproq")]


def test_the_test_site_is_fine():
    assert ids(run_checks()) == []


def test_an_unknown_option_comes_with_a_suggestion(settings):
    (message,) = check_options(settings, MAX_ATTEMPT=5)
    assert message.id == "reproq.E001"
    assert "did you mean MAX_ATTEMPTS?" in message.msg
    assert "DEDUP_ACTIVE" in message.hint


@pytest.mark.parametrize(
    "options",
    [
        {"MAX_ATTEMPTS": 0},
        {"MAX_ATTEMPTS": True},
        {"TIMEOUT_SECONDS": "900"},
        {"TIMEOUT_SECONDS": 2**31},
        {"DEDUP_ACTIVE": "always"},
        {"DEDUP_ACTIVE": 1},
        {"EXPIRES_IN": 60},
        {"ARGUMENTS": "pickle"},
        {"CODE_REF": 5},
    ],
    ids=str,
)
def test_a_wrong_type_is_an_error_and_is_not_used(settings, options):
    assert ids(check_options(settings, **options)) == ["reproq.E002"]
    assert task_backends["default"].reproq_options == BackendOptions()


def test_the_app_must_be_installed(settings):
    settings.INSTALLED_APPS = [name for name in settings.INSTALLED_APPS if name != "reproq_django"]
    assert ids(task_backends["default"].check()) == ["reproq.E003"]


def test_unknown_databases(settings):
    settings.REPROQ_QUEUE_DATABASES = {"mail": "nowhere"}
    assert ids(checks.check_databases()) == ["reproq.E004"]


def test_unsupported_databases(settings, monkeypatch):
    monkeypatch.setattr(type(connections["default"]), "vendor", "oracle")
    assert ids(checks.check_databases()) == ["reproq.E005"]


@pytest.mark.parametrize(
    ("mode", "expected"), [("IMMEDIATE", []), ("deferred", ["reproq.W001"]), (None, ["reproq.W001"])]
)
def test_sqlite_should_begin_with_the_write_lock(monkeypatch, mode, expected):
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {"transaction_mode": mode})
    assert ids(checks.check_databases()) == expected


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (None, []),
        ("UPDATE reproq_meta SET value = '0' WHERE key = 'schema_version'", ["reproq.W002"]),
        ("DROP TABLE reproq_meta", ["reproq.W002"]),
    ],
)
def test_an_outdated_schema(alias, damage, expected):
    if damage:
        with connections[alias].cursor() as cursor:
            cursor.execute(damage)
    assert ids(checks.check_schema(databases=[alias])) == expected
    assert ids(checks.check_schema(databases=None)) == []


def test_a_database_without_tables_is_no_reason_to_warn_before_migrate(alias):
    with connections[alias].cursor() as cursor:
        cursor.execute("DROP TABLE reproq_meta")
        cursor.execute("DROP TABLE task_runs")
    assert ids(checks.check_schema(databases=[alias])) == []


@pytest.mark.django_db(databases=["default", "postgres"], transaction=True)
def test_an_unreachable_database_is_a_warning(settings, monkeypatch):
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    connections["postgres"].close()
    monkeypatch.setitem(connections["postgres"].settings_dict, "PORT", "1")
    assert ids(checks.check_schema(databases=["postgres"])) == ["reproq.W003"]


@pytest.fixture
def declare(monkeypatch):
    """``recurring`` with a registry of its own."""
    monkeypatch.setattr(recurring, "_declared", [])
    return recurring.recurring


def reproq_messages(**kwargs):
    return [message for message in run_checks(**kwargs) if (message.id or "").startswith("reproq")]


def test_schedules_without_a_mistake(declare, alias):
    declare(schedule="0 2 * * *", key="a")(tasks.noop)
    declare(every=5, key="b", args=(1,))(tasks.echo)
    assert reproq_messages(databases=["default", "postgres"]) == []


def test_keys_of_declared_schedules(declare):
    for task in (tasks.noop, tasks.add_async):
        declare(schedule="@daily", key="a", args=() if task is tasks.noop else (1, 2))(task)
    (message,) = reproq_messages()
    assert message.id == "reproq.W005"
    assert message.msg == (
        "The key 'a' belongs to several schedules, of testapp.tasks.noop and testapp.tasks.add_async."
    )


def test_declared_schedules_that_cannot_fire(declare):
    declare(schedule="@daily", key="a", args=(1, 2))(tasks.echo)
    declare(schedule="@daily", key="b", queue_name="nowhere")(tasks.noop)
    declare(schedule="@daily", key="c")(tasks.witness)
    found = reproq_messages()
    assert {message.id for message in found} == {"reproq.W006"}
    assert [message.msg.partition(" cannot fire: ")[2].partition(":")[0] for message in found] == [
        "payload_json", "queue_name", "task_path",
    ]  # fmt: skip
    assert not any(message.is_serious() for message in found), "an error would keep migrate from running"


def test_expressions_are_read_where_databases_are_looked_at(declare, alias):
    declare(schedule="0 25 * * *", key="a")(tasks.noop)
    declare(schedule="@daily", key="b", timezone="Mars/Base")(tasks.noop)
    assert reproq_messages() == []
    found = reproq_messages(databases=[alias])
    assert [(message.id, message.msg.partition(": ")[2].partition(":")[0]) for message in found] == [
        ("reproq.W006", "cron_expr"), ("reproq.W006", "timezone"),
    ]  # fmt: skip


def test_stored_schedules_with_a_problem(alias):
    for name, enabled in (("a", True), ("off", False)):
        PeriodicTask(name=name, task_path="x", enabled=enabled, problem="no such zone").save(using=alias)
    (message,) = reproq_messages(databases=[alias])
    assert (message.id, message.msg) == (
        "reproq.W007", f"The schedule 'a' in {alias!r} cannot fire: no such zone",
    )  # fmt: skip


def test_a_module_of_tasks_that_cannot_be_imported(monkeypatch):
    def broken():
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(discovery, "task_modules", broken)
    (message,) = reproq_messages()
    assert message.id == "reproq.W004"
    assert "ZeroDivisionError: division by zero" in message.msg
