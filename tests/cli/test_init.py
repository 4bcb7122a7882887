"""`reproq init` and `reproq check` on a project that has nothing yet."""

import tomllib
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from reproq_django import __version__

pytestmark = pytest.mark.django_db(databases=["default", "postgres"])


def run(*arguments):
    out = StringIO()
    call_command("reproq", *arguments, stdout=out, stderr=out, no_color=True)
    return out.getvalue()


@pytest.fixture
def installed(project, fake_worker):
    return fake_worker.write(project / ".reproq" / "bin" / "reproq", version=__version__)


@pytest.mark.parametrize(("format_", "name"), [("yaml", "reproq.yaml"), ("toml", "reproq.toml")])
def test_twice_is_as_good_as_once(project, installed, format_, name):
    said = run("init", "--format", format_)
    text = (project / name).read_text()
    assert f"{name} written" in said
    assert "already up to date" in said
    assert str(installed) in said
    assert "TASKS" not in said, "the settings have it"
    again = run("init", "--format", format_)
    assert f"{name} is there already" in again
    assert (project / name).read_text() == text


def test_the_files_hold_the_one_default_that_one_wants_to_see(project, installed):
    run("init", "--format", "toml")
    assert tomllib.loads((project / "reproq.toml").read_text()) == {"worker": {"concurrency": 10}}
    run("init", "--config", "my.yaml")
    lines = [
        line for line in (project / "my.yaml").read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    assert lines == ["worker:", "  concurrency: 10"]


def test_nothing_is_made_up(project, installed):
    run("init")
    text = (project / "reproq.yaml").read_text()
    for word in ("dsn", "://", "worker_id", "secret", "token"):
        assert word not in text


def test_an_own_file_is_left_alone_unless_forced(project, installed):
    path = project / "my.toml"
    path.write_text("mine")
    run("init", "--config", str(path))
    assert path.read_text() == "mine"
    run("init", "--config", str(path), "--force")
    assert "[worker]" in path.read_text()


def test_missing_settings_are_told_and_not_written(project, installed, settings):
    settings.TASKS = {"default": {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}}
    assert '"BACKEND": "reproq_django.backend.ReproqBackend"' in run("init")


def test_without_a_binary_it_is_installed_or_the_command_fails(project):
    with pytest.raises(CommandError, match="no SHA-256 is known"):
        run("init")
    run("init", "--skip-install")


def test_check(project, installed):
    said = run("check")
    assert "schema is current" in said
    assert str(installed) in said
    installed.unlink()
    with pytest.raises(CommandError) as caught:
        run("check")
    assert caught.value.returncode == 1
