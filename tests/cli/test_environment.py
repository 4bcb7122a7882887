"""From Django settings to the worker's environment."""

import json
import os
import sys
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.tasks import Task

from reproq_django import __version__, discovery
from reproq_django.cli import environment
from testapp import tasks

POSTGRES = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop"}


@pytest.mark.parametrize(
    ("database", "url"),
    [
        (POSTGRES, "postgres:///shop"),
        (
            {**POSTGRES, "HOST": "db", "PORT": 5433, "USER": "me", "PASSWORD": "p@ss/w:rd#?%"},
            "postgres://me:p%40ss%2Fw%3Ard%23%3F%25@db:5433/shop",
        ),
        ({**POSTGRES, "HOST": "::1", "USER": "me"}, "postgres://me@[::1]/shop"),
        (
            {**POSTGRES, "HOST": "/run/my sockets", "PORT": "5433", "USER": "me", "PASSWORD": "p&w"},
            "postgres:///shop?host=%2Frun%2Fmy%20sockets&port=5433&user=me&password=p%26w",
        ),
        (
            {
                **POSTGRES,
                "HOST": "db",
                "OPTIONS": {"sslmode": "verify-full", "sslrootcert": "/a b.pem", "pool": True},
            },
            "postgres://db/shop?sslmode=verify-full&sslrootcert=%2Fa%20b.pem",
        ),
        (
            {**POSTGRES, "HOST": "db", "OPTIONS": {"options": "-c search_path=q", "assume_role": "app"}},
            "postgres://db/shop?options=-c%20search_path%3Dq%20-c%20role%3Dapp",
        ),
        (
            {"ENGINE": "django.db.backends.sqlite3", "NAME": "/data/my db #1.sqlite3"},
            "sqlite:///data/my%20db%20%231.sqlite3",
        ),
    ],
)
def test_database_urls(database, url):
    assert environment.url_of("default", database) == url


def test_a_relative_sqlite_file_becomes_absolute(project):
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}
    assert environment.url_of("default", database) == f"sqlite://{project}/db.sqlite3"


@pytest.mark.parametrize(
    ("database", "words"),
    [
        ({"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}, "lives in memory"),
        ({"ENGINE": "django.db.backends.mysql", "NAME": "x"}, "mysql"),
        ({**POSTGRES, "OPTIONS": {"service": "x"}}, "libpq service"),
    ],
)
def test_databases_that_no_worker_can_use(database, words):
    with pytest.raises(CommandError, match=words):
        environment.url_of("default", database)


def test_the_worker_is_started_with_the_site(worker):
    started = worker("worker", "--concurrency", "3", "--executor-mode=process")
    assert started["arguments"] == ["worker", "--concurrency", "3", "--executor-mode=process"]
    found = started["environment"]
    assert found["REPROQ_DATABASE_URL"] == environment.database_url("default")
    assert found["REPROQ_DB_ALIAS"] == "default"
    assert found["DJANGO_SETTINGS_MODULE"] == "settings"
    assert found["REPROQ_PYTHON_BIN"]
    assert found["QUEUE_NAMES"].split(",") == ["default", "mail", "reports-eu", "reports-us"]
    assert {"reproq_django.tasks", "testapp.tasks"} <= set(found["ALLOWED_TASK_MODULES"].split(","))
    assert "DATABASE" not in json.dumps(started["arguments"])


def test_what_the_operator_said_stands(worker, monkeypatch, project):
    monkeypatch.setenv("QUEUE_NAMES", "mail")
    monkeypatch.setenv("ALLOWED_TASK_MODULES", "only.this")
    monkeypatch.setenv("REPROQ_PYTHON_BIN", "/opt/python")
    found = worker("worker")["environment"]
    assert (found["QUEUE_NAMES"], found["ALLOWED_TASK_MODULES"], found["REPROQ_PYTHON_BIN"]) == (
        "mail",
        "only.this",
        "/opt/python",
    )
    monkeypatch.delenv("QUEUE_NAMES")
    assert "QUEUE_NAMES" not in worker("worker", "--queues", "mail")["environment"]
    (project / "reproq.yaml").write_text("worker:\n  queues: [mail]\n  # dsn: none\n")
    found = worker("worker")["environment"]
    assert "QUEUE_NAMES" not in found
    assert "REPROQ_DATABASE_URL" in found
    (project / "other.toml").write_text('dsn = "sqlite:///x.db"\n')
    assert "REPROQ_DATABASE_URL" not in worker("worker", "--config", "other.toml")["environment"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "reproq.yaml",
            "worker:\n  concurrency: 2\nbeat:\n  interval: 5s\n\n  # ours\n  dsn: x\nlog:\n  level: info\n",
        ),
        (
            "reproq.toml",
            '[worker]\nconcurrency = 2\n[beat]\ninterval = "5s"\ndsn = "x"\n\n[log]\nlevel = "info"\n',
        ),
        ("reproq.toml", 'beat.dsn = "x"\n'),
    ],
)  # fmt: skip
def test_the_database_of_the_schedulers_is_theirs(worker, project, name, text):
    (project / name).write_text(text)
    assert "REPROQ_DATABASE_URL" not in worker("beat")["environment"]
    assert "REPROQ_DATABASE_URL" not in worker("schedule", "--interval", "5s")["environment"]
    for words in (["worker"], ["periodic", "list"]):
        assert "REPROQ_DATABASE_URL" in worker(*words)["environment"]


def test_another_database_has_its_own_queues(worker, settings):
    settings.REPROQ_QUEUE_DATABASES = {"reports-*": "postgres"}
    found = worker("worker", "--database", "postgres")["environment"]
    assert found["REPROQ_DB_ALIAS"] == "postgres"
    assert found["REPROQ_DATABASE_URL"].startswith("postgres://")
    assert found["QUEUE_NAMES"] == "reports-eu,reports-us"
    assert worker("worker")["environment"]["QUEUE_NAMES"] == "default,mail"


def test_a_database_url_of_the_environment(monkeypatch):
    monkeypatch.setattr(environment, "database_url", lambda alias: "postgres://pooler/shop")
    monkeypatch.setenv("DATABASE_URL", "postgres://direct/shop")
    assert environment.worker_environment("default", [])["REPROQ_DATABASE_URL"] == "postgres://direct/shop"
    monkeypatch.setenv("DATABASE_URL", "postgres://direct/another")
    assert environment.worker_environment("default", [])["REPROQ_DATABASE_URL"] == "postgres://pooler/shop"
    monkeypatch.setenv("DATABASE_URL", "sqlite:///db.sqlite3")
    found = environment.worker_environment("default", [])
    assert found["REPROQ_DATABASE_URL"] == "postgres://pooler/shop"
    assert found["DATABASE_URL"] == "sqlite:///db.sqlite3", "for the site, which may read it its own way"
    monkeypatch.setenv("REPROQ_DATABASE_URL", "postgres://other/shop")
    assert environment.worker_environment("default", [])["REPROQ_DATABASE_URL"] == "postgres://other/shop"


def test_queues_of_a_backend_that_allows_all(worker, settings):
    settings.TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend", "QUEUES": []}}
    queues = worker("worker")["environment"]["QUEUE_NAMES"].split(",")
    assert queues[0] == "default"
    assert {task.queue_name for task in vars(tasks).values() if isinstance(task, Task)} <= set(queues)


def test_patterns_of_queues_reach_the_worker_as_written(worker, monkeypatch):
    flags = ["--queues", "critical=6,mail-*,!mail-slow", "--queue-order", "weighted"]
    started = worker("worker", *flags)
    assert started["arguments"] == ["worker", *flags]
    assert "QUEUE_NAMES" not in started["environment"]
    assert worker("worker", "--queues=!slow")["arguments"] == ["worker", "--queues=!slow"]
    assert worker("worker", "--queue", "mail-?")["arguments"] == ["worker", "--queues", "mail-?"]
    monkeypatch.setenv("QUEUE_NAMES", "*,!slow")
    monkeypatch.setenv("REPROQ_QUEUE_ORDER", "strict")
    found = worker("worker")["environment"]
    assert (found["QUEUE_NAMES"], found["REPROQ_QUEUE_ORDER"]) == ("*,!slow", "strict")


def test_an_order_alone_is_that_of_the_sites_queues(worker):
    found = worker("worker", "--queue-order", "strict")["environment"]
    assert found["QUEUE_NAMES"] == "default,mail,reports-eu,reports-us"


def test_names_of_the_sites_queues_that_look_like_patterns(worker, settings):
    queues = ["default", "!odd", "team=a", "a*b", "a?b"]
    settings.TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend", "QUEUES": queues}}
    assert worker("worker")["environment"]["QUEUE_NAMES"] == "default,?odd,a?b,team?a"


@pytest.mark.django_db(databases=["default", "postgres"])
def test_tasks_of_the_package_around_the_settings(project, monkeypatch, settings):
    for name in ("aroundsite", "aroundsite.tasks", "aroundsite.config", "aroundsite.config.tasks"):
        monkeypatch.delitem(sys.modules, name, raising=False)  # and again at the end
    folder = project / "aroundsite"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "tasks.py").write_text("from reproq_django import task\n@task\ndef hello(): ...\n")
    monkeypatch.syspath_prepend(project)
    settings.SETTINGS_MODULE = "aroundsite.config.prod"
    (folder / "config").mkdir()
    (folder / "config" / "__init__.py").touch()
    assert "aroundsite.tasks" in discovery.task_modules()
    (folder / "config" / "tasks.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError) as caught:
        discovery.task_modules()
    assert "aroundsite.config.tasks cannot be imported" in caught.value.__notes__[0]
    with pytest.raises(CommandError):
        call_command("reproq", "check", stdout=(out := StringIO()))
    assert "tasks: ZeroDivisionError: division by zero\n  aroundsite.config.tasks" in out.getvalue()


def test_a_worker_of_a_site_that_sends_nothing_to_it_says_so(worker, settings):
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.dummy.DummyBackend"}}
    out = StringIO()
    call_command("reproq", "worker", stderr=out)
    assert "no entry of TASKS uses Reproq" in out.getvalue()


def test_a_worker_does_not_start_with_settings_that_have_no_effect(worker, settings):
    settings.TASKS = {
        "default": {"BACKEND": "reproq_django.backend.ReproqBackend", "OPTIONS": {"MAX_ATTEMPT": 1}}
    }
    out = StringIO()
    with pytest.raises(CommandError, match="not started"):
        call_command("reproq", "worker", stderr=out)
    assert "did you mean MAX_ATTEMPTS?" in out.getvalue()


def test_the_deprecated_flag(worker):
    assert worker("worker", "--queue", "mail")["arguments"] == ["worker", "--queues", "mail"]


def test_an_unknown_flag_of_a_command_that_passes_none():
    with pytest.raises(CommandError, match="--nonsense"):
        call_command("reproq", "migrate-worker", "--nonsense")


@pytest.mark.parametrize("name", ["worker", "config", "status", "stats"])
def test_help_has_the_flags_of_the_binary(project, fake_worker, capfd, name):
    fake_worker.write(
        project / ".reproq" / "bin" / "reproq", version=__version__, record=project / "record.json"
    )
    with pytest.raises(SystemExit) as caught:
        call_command("reproq", name, "--help")
    assert caught.value.code == 0
    assert "--database" in capfd.readouterr().out
    assert json.loads((project / "record.json").read_text())["arguments"] == [name, "--help"]


def test_djangos_own_options_may_stand_behind(worker):
    assert worker("worker", "--traceback", "--concurrency", "2")["arguments"] == [
        "worker",
        "--concurrency",
        "2",
    ]


@pytest.mark.parametrize("name", ["config", "status", "stats"])
def test_commands_of_the_binary(worker, name):
    assert worker(name, "--json")["arguments"] == [name, "--json"]


def test_every_database(worker, settings):
    settings.REPROQ_QUEUE_DATABASES = {"reports-*": "postgres"}
    assert worker("stats", "--all-databases")["environment"]["REPROQ_DB_ALIAS"] == "postgres"


def test_an_exit_code_is_handed_on(project, fake_worker):
    record = project / "record.json"
    fake_worker.write(project / ".reproq" / "bin" / "reproq", version=__version__, record=record, code=3)
    with pytest.raises(CommandError) as caught:
        call_command("reproq", "worker")
    assert caught.value.returncode == 3
    assert os.environ.get("REPROQ_DB_ALIAS") is None, "the environment of this process is as it was"
