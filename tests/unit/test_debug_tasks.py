import sys

import pytest

from reproq_django import tasks


def test_debug_tasks():
    assert tasks.debug_noop_task.call() == "ok"
    with pytest.raises(RuntimeError, match="boom"):
        tasks.debug_error_task.call("boom")


def test_they_import_on_a_site_without_a_default_queue(settings, monkeypatch):
    settings.TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend", "QUEUES": ["mail"]}}
    monkeypatch.delitem(sys.modules, "reproq_django.tasks")
    from reproq_django.tasks import debug_noop_task

    assert debug_noop_task.queue_name == "mail"


@pytest.mark.parametrize("aliases", [["background"], []])
def test_they_import_on_a_site_without_a_default_backend(settings, monkeypatch, aliases):
    settings.TASKS = {alias: {"BACKEND": "reproq_django.backend.ReproqBackend"} for alias in aliases}
    monkeypatch.delitem(sys.modules, "reproq_django.tasks")
    from reproq_django.tasks import debug_noop_task

    assert getattr(debug_noop_task, "backend", None) == next(iter(aliases), None)
