import os

from django.apps import AppConfig
from django.tasks.signals import task_finished, task_started


def break_down(**kwargs):
    raise RuntimeError("a receiver that raises")


class TestAppConfig(AppConfig):
    name = "testapp"

    def ready(self):
        if os.environ.get("REPROQ_TEST_BROKEN_RECEIVER"):
            task_started.connect(break_down, weak=False)
            task_finished.connect(break_down, weak=False)
