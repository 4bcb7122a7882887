import pytest
from django.core.checks import run_checks
from django.db import connections
from django.tasks import task_backends

from reproq_django import checks
from reproq_django.conf import BackendOptions

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
