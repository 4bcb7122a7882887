"""``manage.py reproq dev``: what is handed to the binary, and what is not."""

import sys

import pytest
from django.core.management import CommandError


@pytest.fixture
def dev(worker, settings, monkeypatch):
    settings.DEBUG = True
    monkeypatch.setattr(sys, "argv", ["manage.py", "reproq", "dev"])
    return lambda *arguments: worker("dev", *arguments)


def test_the_address_is_runservers_and_the_rest_the_workers(dev):
    found = dev("8001", "--", "--concurrency", "3", "--", "x")
    assert found["arguments"] == ["dev", "--manage=manage.py", "8001", "--", "--concurrency", "3", "--", "x"]
    assert dev()["arguments"] == ["dev", "--manage=manage.py", "--"]
    assert dev("--no-web")["arguments"] == ["dev", "--manage=manage.py", "--no-web", "--"]


def test_tasks_of_modules_that_come_later_are_allowed(dev, monkeypatch):
    modules = dev()["environment"]["ALLOWED_TASK_MODULES"].split(",")
    assert modules[0] == "*"
    assert "testapp.tasks" in modules
    # Unless the operator has decided.
    assert "ALLOWED_TASK_MODULES" not in dev("--", "--allowed-task-modules", "x")["environment"]
    monkeypatch.setenv("ALLOWED_TASK_MODULES", "shop")
    assert dev()["environment"]["ALLOWED_TASK_MODULES"] == "shop"


def test_django_that_was_started_as_a_module_is_started_so_again(dev, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/somewhere/django/__main__.py", "reproq", "dev"])
    assert dev()["arguments"][:3] == ["dev", "--manage=-m", "--manage=django"]


def test_it_is_refused_outside_of_development(worker, settings):
    settings.DEBUG = False
    with pytest.raises(CommandError, match="dev is for development"):
        worker("dev")


def test_flags_of_the_worker_have_their_place(dev):
    with pytest.raises(CommandError, match="flags of the worker stand after --"):
        dev("--concurrency=3")


def test_others_take_two_dashes_as_before(worker):
    assert worker("worker", "--queues", "a")["arguments"] == ["worker", "--queues", "a"]
