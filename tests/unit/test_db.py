import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.tasks.exceptions import TaskResultDoesNotExist

from reproq_django.db import format_result_id, parse_result_id, queue_alias, queue_aliases
from reproq_django.db_router import ReproqRouter


@pytest.fixture
def two_databases(settings):
    settings.REPROQ_QUEUE_DATABASES = {"reports-*": "postgres", "reports-eu": "default"}


@pytest.mark.usefixtures("two_databases")
def test_an_exact_name_beats_a_glob_and_the_default_takes_the_rest():
    assert [queue_alias(name) for name in ("reports-eu", "reports-us", "mail", "Reports-x")] == [
        "default", "postgres", "default", "default",
    ]  # fmt: skip
    assert queue_aliases() == ["default", "postgres"]


@pytest.mark.usefixtures("two_databases")
def test_ids_name_their_database_when_there_is_more_than_one():
    assert format_result_id(7, "postgres") == "postgres:7"
    assert parse_result_id("postgres:7") == (7, "postgres")
    assert parse_result_id("7") == parse_result_id(7) == (7, "default")


@pytest.mark.parametrize(("forced", "shown"), [(None, "7"), (False, "7"), (True, "default:7")])
def test_ids_of_one_database(settings, forced, shown):
    settings.REPROQ_RESULT_ID_WITH_ALIAS = forced
    assert format_result_id(7, "default") == shown
    assert parse_result_id(shown) == (7, "default")


@pytest.mark.parametrize(
    "bad", ["", "x", "-1", "1.5", " 7", "٧", "nowhere:7", "default:", "9" * 30, 2**63, "²"]
)
def test_what_is_no_id_does_not_exist(bad):
    with pytest.raises(TaskResultDoesNotExist):
        parse_result_id(bad)


@pytest.mark.usefixtures("two_databases")
def test_router_keeps_our_tables_in_the_queue_databases(settings):
    router = ReproqRouter()
    settings.REPROQ_DEFAULT_DB_ALIAS = "postgres"
    settings.REPROQ_QUEUE_DATABASES = {}
    assert router.allow_migrate("postgres", "reproq_django") is True
    assert router.allow_migrate("default", "reproq_django") is False
    for model in apps.get_app_config("reproq_django").get_models():
        assert router.db_for_read(model) == router.db_for_write(model) == "postgres"
    assert router.db_for_read(User) is router.allow_migrate("default", "auth") is None
