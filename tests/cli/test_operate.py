"""The operator's commands: flags go to the binary as they are, in the right database."""

import pytest
from django.core.management import call_command

from reproq_django.cli import operate
from reproq_django.models import PeriodicTask

ROUTES = {"mail": "postgres", "reports-*": "postgres"}


@pytest.fixture
def routed(settings):
    settings.REPROQ_QUEUE_DATABASES = ROUTES


@pytest.mark.parametrize("name", operate.COMMANDS)
def test_each_command_is_the_binarys(worker, name):
    assert worker(name, "--json")["arguments"] == [name, "--json"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("limit", "set", "--key", "global", "--rate", "5", "--burst=2", "--json"),
        ("pause", "--queue", "default", "--reason", "two words", "--for", "30m"),
        ("prune", "--statuses", "FAILED", "--older-than", "7d", "--limit", "5", "--dry-run"),
        ("prune", "expired", "--limit", "5"),
        ("reschedule", "12", "--in", "10m"),
        ("triage", "retry", "--all", "--queue", "mail"),
    ],
)
def test_words_and_flags_keep_their_order(worker, arguments):
    assert worker(*arguments)["arguments"] == list(arguments)


@pytest.mark.parametrize(
    ("arguments", "alias"),
    [
        (["why", "12"], "default"),
        (["why", "postgres:12"], "postgres"),
        (["why", "postgres:12", "--database", "default"], "default"),
        (["why", "elsewhere:12"], "default"),
        (["cancel", "--id", "postgres:12"], "postgres"),
        (["triage", "inspect", "--id=postgres:12"], "postgres"),
        (["pause", "--queue", "mail"], "postgres"),
        (["pause", "--queue=reports-eu", "--reason", "--queue"], "postgres"),
        (["resume", "--queue", "default"], "default"),
        (["pause-queue", "mail", "--reason", "x"], "postgres"),
        (["resume-queue", "default"], "default"),
        (["prune"], "default"),
        (["prune", "--all-databases"], "postgres"),
        (["prune-workers", "--database", "postgres"], "postgres"),
        (["limit", "ls"], "default"),
    ],
)
def test_the_database_is_the_one_that_the_flags_are_about(worker, routed, arguments, alias):
    # With several databases, the stand-in's record is that of the last.
    assert worker(*arguments)["environment"]["REPROQ_DB_ALIAS"] == alias


@pytest.mark.django_db(transaction=True, databases=["default", "postgres"])
def test_a_schedule_is_looked_for_where_it_is(worker, routed):
    PeriodicTask(name="a", task_path="x", cron_expr="@daily").save(using="postgres")

    def alias(*words):
        return worker("periodic", *words)["environment"]["REPROQ_DB_ALIAS"]

    assert alias("show", "a", "--json") == "postgres"
    assert alias("run", "b") == alias("list") == "default"
    assert alias("show", "a", "--database", "default") == "default"


def test_a_task_is_paused_wherever_its_runs_may_be(worker, routed, monkeypatch):
    asked = []
    monkeypatch.setattr(operate, "run_in", lambda command, aliases, arguments: asked.extend(aliases) or 0)
    call_command("reproq", "pause", "--task", "shop.tasks.send")
    assert asked == ["default", "postgres"]


def test_only_commands_for_which_it_makes_sense_run_everywhere():
    assert {name for name, command in operate.COMMANDS.items() if command.in_all} == {
        "queues",
        "schedule",
        "reclaim",
        "prune",
        "prune-successful",
        "prune-workers",
    }
