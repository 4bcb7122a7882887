"""What the worker has to know of a site that has been imported: its tasks, its own code, whether it can be
forked."""

from __future__ import annotations

import inspect
import json
import os
import socket
import stat
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

#: The kernel bounds a packet by the socket's send buffer; far below it.
_PACKET_CHARACTERS = 32 * 1024


def special_tasks() -> dict[str, dict[str, Any]]:
    """By path, the tasks that are not plain: coroutines, and those that ask for a kind of process."""
    found: dict[str, dict[str, Any]] = {}
    for value in _tasks():
        traits: dict[str, Any] = {}
        # One with a bound of its own on memory cannot share a process: nobody could tell who uses what.
        if inspect.iscoroutinefunction(value.func) and getattr(value, "max_memory", None) is None:
            traits["async"] = True
        if isolation := getattr(value, "isolation", None):
            traits["isolation"] = isolation
        if traits:
            found[value.module_path] = traits
    return found


def task_paths() -> list[str]:
    """Where the site's tasks are, as far as their modules are imported."""
    return [task.module_path for task in _tasks() if task.func.__module__ in sys.modules]


def _tasks() -> Iterator[Any]:
    # Late: that Django is missing is for the worker to hear, from whoever loads the site.
    from django.tasks import Task

    for module in _modules():
        for value in list(vars(module).values()):
            # By type: `isinstance` would make a lazy object of the site real.
            if issubclass(type(value), Task):
                yield value


def task_packets() -> Iterator[dict[str, Any]]:
    """``tasks`` packets of the contract, each small enough to be sent."""
    part: dict[str, dict[str, Any]] = {}
    size = 0
    for path, traits in sorted(special_tasks().items()):
        part[path] = traits
        size += len(json.dumps({path: traits}))
        if size > _PACKET_CHARACTERS:
            yield {"type": "tasks", "tasks": part}
            part, size = {}, 0
    if part:
        yield {"type": "tasks", "tasks": part}


def source_roots(error: BaseException | None = None) -> list[str]:
    """The folders of the modules that are neither installed packages nor Python's own, none below another.

    Args:
        error: what the site has raised while it was imported: the files that it names count, too, since what
        cannot be imported is no module; the working directory does when there is nothing else.
    """
    installed = [Path(path).resolve() for path in sysconfig.get_paths().values()]

    def is_own(folder: Path) -> bool:
        return {"site-packages", "dist-packages"}.isdisjoint(folder.parts) and not any(
            folder.is_relative_to(place) for place in installed
        )

    modules = [module for module in _modules() if "." not in module.__name__]
    files = {file for module in modules if isinstance(file := getattr(module, "__file__", None), str)}
    folders = {Path(file).resolve().parent for file in files | set(_named_by(error))}
    # A package without an __init__.py has no file.
    for module in modules:
        if getattr(module, "__file__", None) is None:
            folders |= {Path(path).resolve() for path in getattr(module, "__path__", ())}
    folders = {folder for folder in folders if is_own(folder)}
    if error is not None and not folders - {Path(__file__).resolve().parent.parent}:
        folders = {Path.cwd()}
    return sorted(str(folder) for folder in folders if folders.isdisjoint(folder.parents))


def story(error: BaseException) -> list[str]:
    """The traceback of ``error`` in lines, without the frames of Python's own import."""
    told = traceback.TracebackException.from_exception(error)
    each: traceback.TracebackException | None = told
    while each is not None:
        frames = [frame for frame in each.stack if not frame.filename.startswith("<frozen importlib")]
        each.stack = traceback.StackSummary.from_list(frames)
        each = each.__cause__ or each.__context__
    return list(told.format())


def _named_by(error: BaseException | None) -> Iterator[str]:
    """The files of a traceback, and the one that is no Python."""
    while error is not None:
        for frame in traceback.extract_tb(error.__traceback__):
            if not frame.filename.startswith("<"):
                yield frame.filename
        if isinstance(error, SyntaxError) and error.filename:
            yield error.filename
        error = error.__cause__ or error.__context__


def why_unsafe(descriptors_before: set[int]) -> str | None:
    """Why a fork of this process would not be safe; None when it is.

    Args:
        descriptors_before: those that were open before the site was imported.
    """
    reasons = []
    if names := [each.name for each in threading.enumerate() if each is not threading.main_thread()]:
        reasons.append(f"the site starts threads while it is imported ({', '.join(names)})")
    if peers := list(_connected(open_descriptors() - descriptors_before)):
        reasons.append(f"the site opens connections while it is imported (to {', '.join(peers)})")
    return "; ".join(reasons) or None


def open_descriptors() -> set[int]:
    """The numbers of all open descriptors; empty where the system does not list them."""
    try:
        return {int(name) for name in os.listdir("/proc/self/fd")}
    except OSError:
        return set()


def _connected(descriptors: set[int]) -> Iterator[str]:
    """Where the stream sockets among ``descriptors`` lead to."""
    for descriptor in sorted(descriptors):
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as copy:
                if copy.type != socket.SOCK_STREAM:
                    continue
                peer = copy.getpeername()
        except OSError:
            continue  # closed meanwhile, or connected to nobody
        if isinstance(peer, tuple):
            yield f"{peer[0]}:{peer[1]}"
        elif peer:
            # A pair without a name is an event loop's or the like; it leads out of nothing.
            yield os.fsdecode(peer)


def _modules() -> list[ModuleType]:
    return [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
