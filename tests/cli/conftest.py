"""Commands run in an empty working directory, and see no worker binary but those that a test puts there."""

from __future__ import annotations

import importlib.util
import json
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from reproq_django import __version__, binary


def _load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def fake_worker():
    """``fake_worker.py``."""
    return _load("fake_worker")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch, settings):
    """An empty project directory as the working directory; returns its path."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in (
        "REPROQ_WORKER_BIN",
        "REPROQ_CONFIG",
        "DATABASE_URL",
        "REPROQ_DATABASE_URL",
        "QUEUE_NAMES",
        "ALLOWED_TASK_MODULES",
        "REPROQ_RELEASE_URL",
        "REPROQ_RELEASE_SHA256",
    ):
        monkeypatch.delenv(name, raising=False)
    settings.REPROQ_WORKER_BIN = None
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    # The environment that runs the tests may have a reproq of its own.
    monkeypatch.setattr(binary, "script_folders", lambda: [tmp_path / "no-scripts"])
    return folder


@pytest.fixture
def worker(project, fake_worker):
    """Runs ``manage.py reproq ...`` against a stand-in; returns how it was started."""
    record = project / "record.json"
    fake_worker.write(project / ".reproq" / "bin" / "reproq", version=__version__, record=record)

    def run(*arguments):
        out = StringIO()
        call_command("reproq", *arguments, stdout=out, stderr=out, no_color=True)
        return json.loads(record.read_text())

    return run
