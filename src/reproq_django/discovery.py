"""The tasks of the site: the modules that hold them, and the task of a path.

A stored path never decides what is imported: it is looked for in what the site has imported by itself, and in
the ``tasks`` modules.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any

from django.apps import apps
from django.conf import settings
from django.tasks import Task


def task_modules() -> list[str]:
    """Import every module that may hold tasks, and name it: ``tasks`` of each installed app and of the
    package around the settings, and whatever else registered one.

    An error of the site's own code is raised, with a note that says where."""
    parts = str(settings.SETTINGS_MODULE or "").split(".")[:-1]
    around = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    modules = set()
    for package in (*(app.name for app in apps.get_app_configs()), *around):
        name = f"{package}.tasks"
        try:
            if importlib.util.find_spec(name) is not None:
                importlib.import_module(name)
                modules.add(name)
        except Exception as error:
            error.add_note(f"{name} cannot be imported; Reproq looks for tasks in it.")
            raise
    return sorted(modules | {task.func.__module__ for task in registered_tasks()})


def registered_tasks() -> list[Task]:
    """The tasks of all modules that this process has imported."""
    modules = [tuple(getattr(module, "__dict__", {}).values()) for module in list(sys.modules.values())]
    return [value for values in modules for value in values if _is_task(value)]


def find_task(path: str) -> Task | None:
    """The task with that ``module_path``; None when the site has none.

    Raises what a ``tasks`` module raises while it is imported.
    """
    if (found := _imported(path)) is None:
        task_modules()
        found = _imported(path)
    return found


def _imported(path: str) -> Task | None:
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:length]))
        if found is None:
            continue
        for name in parts[length:]:
            found = getattr(found, name, None)
        return found if _is_task(found) else None
    return None


def _is_task(value: Any) -> bool:
    # Not isinstance(): it asks lazy objects for their class, and some of them load half a site to answer.
    return issubclass(type(value), Task)
