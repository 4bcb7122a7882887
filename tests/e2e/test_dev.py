"""``manage.py reproq dev``: web server and worker in one console, and nothing of them left behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ROOT, alive, family_of, until

#: Seconds in which Django's reloader has seen what it will see: it looks each second.
SAVED_AGAIN_AFTER = 3

MANAGE = """\
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "shop_settings"
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""

SETTINGS = """\
import os
from pathlib import Path
SECRET_KEY = "test"
DEBUG = "NO_DEBUG" not in os.environ
USE_TZ = True
ROOT_URLCONF = "shop_urls"
INSTALLED_APPS = ["django.contrib.contenttypes", "reproq_django", "shop"]
DATABASES = {"default": {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": Path(__file__).parent / "db.sqlite3",
    "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
}}
TASKS = {"default": {"BACKEND": "reproq_django.backend.ReproqBackend"}}
"""

URLS = """\
from django.http import HttpResponse
from django.tasks import default_task_backend
from django.urls import path
from shop import tasks

def run(request, name):
    return HttpResponse(f"{tasks.ANSWER}:{getattr(tasks, name).enqueue().id}")

def result(request, id):
    found = default_task_backend.get_result(id)
    return HttpResponse(f"{found.status}:{found.return_value if found.status == 'SUCCESSFUL' else ''}")

urlpatterns = [path("run/<name>", run), path("result/<id>", result)]
"""

TASKS = """\
import subprocess, time
from reproq_django import task

ANSWER = {answer!r}

@task(dedup=False)
def answer():
    return ANSWER

@task(dedup=False)
def linger():
    print("lingering", flush=True)
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    open("lingers", "w").close()
    time.sleep(600)
"""


class Dev:
    """A site in a folder of its own, and ``manage.py reproq dev`` on it."""

    def __init__(self, folder: Path, binary: Path) -> None:
        self.folder, self.binary = folder, binary
        (folder / "shop").mkdir()
        (folder / "shop/__init__.py").touch()
        self.answer("the first answer")
        for name, text in (("manage.py", MANAGE), ("shop_settings.py", SETTINGS), ("shop_urls.py", URLS)):
            (folder / name).write_text(text)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log = folder / "dev.log"
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        ours = ("REPROQ", "DJANGO", "DATABASE_URL", "PYTHONDONTWRITEBYTECODE")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return environment | {"PYTHONPATH": str(ROOT / "src"), "REPROQ_WORKER_BIN": str(self.binary)}

    def manage(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """A command that ends by itself."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=self.folder,
            env=self.environment() | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def start(self, *flags: str) -> None:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "reproq", "dev", *flags],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def start_both(self) -> None:
        self.start(f"127.0.0.1:{self.port}", "--", "--concurrency", "2", "--shutdown-timeout", "60s")
        self.until_said("worker started")
        until(lambda: self.get("result/none") is not None, seconds=60, what="the web server answers")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def worker(self) -> int:
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in family_of(self.pid)}
        return next(pid for pid, command in commands.items() if b"worker\0--reload" in command)

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def until_said(self, words: str, times: int = 1) -> None:
        try:
            until(lambda: self.said.count(words) >= times, seconds=60)
        except AssertionError:
            raise AssertionError(f"nobody has said {words!r} but:\n{self.said[-4000:]}") from None

    def get(self, path: str) -> str | None:
        """The answer's text; empty when it is an error, None when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError:
            return ""
        except OSError:
            return None

    def run(self, name: str) -> tuple[str, str]:
        """Enqueue a task: the web server's answer, and the result's id."""
        answer, _, result = str(self.get(f"run/{name}")).rpartition(":")
        return answer, result

    def answers(self, text: str) -> bool:
        """Whether web server and worker both have this version of the code."""
        seen, result = self.run("answer")
        if seen != text:
            return False
        until(lambda: (self.get(f"result/{result}") or "").startswith("SUCCESSFUL"), what="the task ends")
        return self.get(f"result/{result}") == f"SUCCESSFUL:{text}"

    def until_answered(self, text: str, what: str) -> None:
        """Django's reloader takes what it finds at its first look for what it has imported, and so misses
        a save in between; whoever develops then saves again."""
        saved = time.monotonic()

        def answered() -> bool:
            nonlocal saved
            if self.answers(text):
                return True
            stale = not (self.get("run/answer") or text).startswith(text)
            if stale and time.monotonic() - saved > SAVED_AGAIN_AFTER:
                (self.folder / "shop/tasks.py").touch()
                saved = time.monotonic()
            return False

        until(answered, seconds=60, what=what)

    def answer(self, text: str) -> None:
        (self.folder / "shop/tasks.py").write_text(TASKS.format(answer=text))

    def linger(self) -> None:
        self.run("linger")
        until((self.folder / "lingers").exists, what="the task begins")

    def ends(self, family: set[int]) -> int:
        """The exit code, when nothing is left."""
        assert self.process is not None
        code = self.process.wait(40)
        until(lambda: not alive(family), seconds=5, what="nothing is left")
        assert self.get("result/none") is None
        return code


@pytest.fixture
def dev(tmp_path: Path, binary: Path) -> Iterator[Dev]:
    dev = Dev(tmp_path, binary)
    migrated = dev.manage("migrate", "-v0")
    assert migrated.returncode == 0, migrated.stderr
    yield dev
    if dev.process is not None and dev.process.poll() is None:
        family = family_of(dev.pid)
        dev.process.kill()
        dev.process.wait()
        for pid in alive(family):
            os.kill(pid, signal.SIGKILL)


def test_both_start_serve_and_reload_and_end_together(dev: Dev) -> None:
    dev.start_both()
    assert dev.answers("the first answer")
    dev.answer("another")
    dev.until_answered("another", what="both have the new code")
    # A module that was not there when the worker was told which ones may run.
    shutil.copy(dev.folder / "shop/tasks.py", dev.folder / "shop/later.py")
    dev.answer("a third")
    with (dev.folder / "shop/tasks.py").open("a") as tasks:
        tasks.write("\nfrom shop import later\nanswer = later.answer\nlater.ANSWER = ANSWER\n")
    dev.until_answered("a third", what="the new module's task runs")
    family = family_of(dev.pid)
    assert len(family) >= 6  # reloader, server, worker, guard, zygote, child
    os.kill(dev.pid, signal.SIGINT)
    assert dev.ends(family) == 0
    lines = dev.said.splitlines()
    assert all(line.startswith(("web    | ", "worker | ")) for line in lines), dev.said
    assert any(line.startswith("web    | Starting") for line in lines)
    assert any(line.startswith("worker | ") and "worker stopped nothing_left=true" in line for line in lines)


def test_killing_it_leaves_nothing(dev: Dev) -> None:
    dev.start_both()
    dev.linger()
    family = family_of(dev.pid)
    assert len(family) >= 7
    os.kill(dev.pid, signal.SIGKILL)
    assert dev.ends(family) == -signal.SIGKILL


def test_a_second_signal_hurries(dev: Dev) -> None:
    dev.start_both()
    dev.linger()
    family = family_of(dev.pid)
    os.kill(dev.pid, signal.SIGINT)
    dev.until_said("waiting for running attempts")
    until(lambda: dev.get("result/none") is None, what="the web server stops")
    assert alive({dev.pid, dev.worker()}) == {dev.pid, dev.worker()}
    os.kill(dev.pid, signal.SIGINT)
    assert dev.ends(family) == 0


def test_a_third_signal_kills(dev: Dev) -> None:
    dev.start_both()
    dev.linger()
    family = family_of(dev.pid)
    process = dev.process
    assert process is not None
    # It cannot hear that it is to stop.
    os.kill(dev.worker(), signal.SIGSTOP)
    # Several at once may count as one.
    until(lambda: process.poll() is not None or os.kill(dev.pid, signal.SIGINT), what="it ends")
    assert dev.ends(family) == 130


def test_when_one_ends_the_other_does_and_its_code_counts(dev: Dev) -> None:
    with socket.create_server(("127.0.0.1", dev.port)):
        dev.start(f"127.0.0.1:{dev.port}")
        assert dev.process is not None
        assert dev.process.wait(60) == 1
        assert "reproq: web has ended (exit status: 1); stopping the rest" in dev.said
    dev.start_both()
    family = family_of(dev.pid)
    os.kill(dev.worker(), signal.SIGKILL)
    assert dev.ends(family) == 128 + signal.SIGKILL


def test_the_worker_alone(dev: Dev) -> None:
    dev.start("--no-web")
    dev.until_said("worker started")
    family = family_of(dev.pid)
    assert "web" not in dev.said
    os.kill(dev.pid, signal.SIGTERM)
    assert dev.ends(family) == 0


def test_what_is_refused_is_refused_before_anything_starts(dev: Dev) -> None:
    for arguments, environment, code, words in (
        (["reproq", "dev"], {"NO_DEBUG": "1"}, 1, "dev is for development"),
        (["reproq", "dev", "--", "--concurrency", "0"], {}, 2, "concurrency"),
        (["reproq", "dev", "--concurrency=2"], {}, 2, "after --"),
    ):
        refused = dev.manage(*arguments, **environment)
        assert (refused.returncode, words in refused.stderr) == (code, True), refused
        assert "Starting" not in refused.stdout


def test_without_its_tables_the_worker_says_what_to_do(dev: Dev) -> None:
    (dev.folder / "db.sqlite3").write_bytes(b"")
    dev.start(f"127.0.0.1:{dev.port}")
    assert dev.process is not None
    assert dev.process.wait(60) == 6
    assert "migrate" in next(line for line in dev.said.splitlines() if line.startswith("worker | reproq:"))
