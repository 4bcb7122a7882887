"""``worker --reload``: what is saved is what runs next, and what cannot be imported does no harm."""

import importlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from harness import ROOT, Site, Worker, alive, until

#: None of this depends on the database.
pytestmark = pytest.mark.parametrize("engine", ["sqlite"], indirect=True)

#: A slow machine's import of the site, and more.
SOON = 20

TASKS = """\
import asyncio, os, time
from pathlib import Path
from reproq_django import task

ANSWER = {answer!r}

@task(dedup=False)
def answer():
    return ANSWER

@task(dedup=False)
async def answer_async():
    await asyncio.sleep(0)
    return ANSWER

@task(dedup=False)
def wait_and_answer(go_on):
    Path(go_on).with_suffix(".began").touch()
    while not Path(go_on).exists():
        time.sleep(0.01)
    return ANSWER
"""


class Shop:
    """An app of its own in the folder of the site; each version of its code answers differently."""

    def __init__(self, site: Site) -> None:
        self.site, self.name = site, f"shop_{uuid.uuid4().hex}"
        self.folder = site.folder / self.name
        self.folder.mkdir()
        self.save("__init__.py", "")
        self.save("tasks.py", TASKS.format(answer="the first answer"))
        settings = f"from e2e_settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, {self.name!r}]\n"
        self.site.folder.joinpath(f"{self.name}_settings.py").write_text(settings)
        # No site is written in the moment before its worker starts, which would then import it once more.
        for file in (*self.folder.glob("*.py"), self.site.folder / f"{self.name}_settings.py"):
            os.utime(file, (time.time() - 60,) * 2)
        # What the test enqueues is the first version's; the worker only gets its path.
        self.tasks = importlib.import_module(f"{self.name}.tasks")

    def save(self, name: str, text: str) -> None:
        """Write a file as most editors do: another one takes its place."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".tmp").write_text(text)
        path.with_suffix(".tmp").replace(path)

    def answer(self, text: str) -> None:
        self.save("tasks.py", TASKS.format(answer=text))

    def worker(self, *flags: str) -> AbstractContextManager[Worker]:
        paths = [self.site.folder, *(ROOT / path for path in ("src", "tests", "tests/e2e"))]
        return self.site.worker(
            "--reload",
            *flags,
            DJANGO_SETTINGS_MODULE=f"{self.name}_settings",
            PYTHONPATH=os.pathsep.join(map(str, paths)),
            ALLOWED_TASK_MODULES="*",
        )


@contextmanager
def meanwhile(site: Site, deed: Callable[[Worker], None]) -> Iterator[None]:
    """Do something to the next worker while others wait for it."""
    before = len(site.workers)

    def run() -> None:
        until(lambda: len(site.workers) > before, what="there is a worker")
        worker = site.workers[-1]
        until(lambda: "no_such_module_anywhere" in worker.said, seconds=SOON, what="the mistake is said")
        assert worker.process.poll() is None
        deed(worker)

    with ThreadPoolExecutor() as pool:
        done = pool.submit(run)
        yield
        done.result()


@pytest.fixture
def shop(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.syspath_prepend(str(site.folder))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shop = Shop(site)
    yield shop
    for name in [name for name in sys.modules if name.startswith(shop.name)]:
        del sys.modules[name]


def value(task: Any, *args: Any) -> Any:
    return task.enqueue(*args).wait(timeout=30, poll_interval=0.01).return_value


def answers(task: Any, text: str) -> bool:
    return bool(value(task) == text)


def imported(worker: Worker, count: int) -> Callable[[], bool]:
    return lambda: worker.said.count("new code is in use") >= count


@pytest.mark.parametrize(
    ("flags", "task"),
    [
        (("--concurrency", "2"), "answer"),
        (("--concurrency", "2"), "answer_async"),
        (("--concurrency", "2", "--threads", "4"), "answer"),
        (("--executor-mode", "fork"), "answer"),
        (("--executor-mode", "process"), "answer"),
    ],
)
def test_what_is_saved_is_what_runs_next(shop: Shop, flags: tuple[str, ...], task: str) -> None:
    task = getattr(shop.tasks, task)
    with shop.worker(*flags):
        assert value(task) == "the first answer"
        for text in ("another", "a third answer"):
            shop.answer(text)
            until(lambda text=text: answers(task, text), seconds=SOON, what=f"the answer is {text}")
    assert set(shop.site.runs().values_list("status", "attempts")) == {("SUCCESSFUL", 1)}


def test_what_is_enqueued_while_saved_code_is_imported_waits_for_it(shop: Shop) -> None:
    """A web server may have imported it sooner, and enqueue what the earlier code does not know."""
    with shop.worker("--concurrency", "2") as worker:
        assert value(shop.tasks.answer) == "the first answer"
        shop.save("slow.py", "import time\ntime.sleep(2)\n")
        shop.save("tasks.py", TASKS.format(answer="another") + f"from {shop.name} import slow\n")
        until(lambda: "code has changed" in worker.said, seconds=SOON, what="the change is noticed")
        assert value(shop.tasks.answer) == "another"
    assert set(shop.site.runs().values_list("status", "attempts")) == {("SUCCESSFUL", 1)}


@pytest.mark.parametrize("restless", [False, True])
def test_code_that_never_rests_does_not_keep_tasks_waiting(shop: Shop, restless: bool) -> None:
    """It is from the future by its file's time, or it changes whenever it is imported."""
    if restless:
        shop.save("version.py", "")
        write = "\nPath(__file__).with_name('version.py').write_text(f'at = {time.time_ns()}')\n"
        shop.save("tasks.py", TASKS.format(answer="the first answer") + write)
    else:
        os.utime(shop.folder / "tasks.py", times=(time.time() + 3600,) * 2)
    with shop.worker("--concurrency", "2") as worker:
        if restless:
            until(lambda: worker.said.count("code has changed") > 2, seconds=SOON, what="it changes")
        results = [shop.tasks.answer.enqueue() for _ in range(3)]
        answers = {result.wait(timeout=30, poll_interval=0.01).return_value for result in results}
    assert answers == {"the first answer"}
    assert restless or "code has changed" not in worker.said


def test_what_runs_ends_with_the_code_that_it_began_with(shop: Shop) -> None:
    go_on = shop.site.folder / "go_on"
    with shop.worker("--concurrency", "3") as worker:
        until(lambda: len(worker.children()) == 2, what="children are forked ahead")
        idle, (zygote,) = worker.children(), worker.zygotes()
        waiting = shop.tasks.wait_and_answer.enqueue(str(go_on))
        until(go_on.with_suffix(".began").exists, what="the task begins")
        shop.answer("another")
        until(imported(worker, 1), seconds=SOON, what="the new code is imported")
        # The idle one goes without being asked for anything; the busy one keeps its zygote.
        until(lambda: len(alive(idle)) == 1, what="the idle child ends")
        assert alive({zygote})
        assert value(shop.tasks.answer) == "another"
        go_on.touch()
        assert waiting.wait(timeout=30, poll_interval=0.01).return_value == "the first answer"
        until(lambda: not alive({zygote, *idle}), what="what has the earlier code ends")
        assert len(worker.zygotes()) == 1


def test_a_child_that_was_forked_ahead_goes_with_its_code(shop: Shop) -> None:
    with shop.worker("--concurrency", "1", "--executor-mode", "fork") as worker:
        until(lambda: len(worker.children()) == 1, what="a child is forked ahead")
        ahead = worker.children()
        shop.answer("another")
        until(lambda: not alive(ahead), seconds=SOON, what="it ends")
        until(lambda: len(worker.children()) == 1, what="another is there")
        assert value(shop.tasks.answer) == "another"


def test_code_that_cannot_be_imported_does_no_harm_and_is_said_once(shop: Shop) -> None:
    with shop.worker("--concurrency", "2", "--log-format", "text") as worker:
        assert value(shop.tasks.answer) == "the first answer"
        shop.save("tasks.py", "def half_sav")
        until(lambda: "cannot be imported" in worker.said, seconds=SOON, what="the mistake is said")
        children = worker.children()
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not alive(children), what="the children die")
        for _ in range(4):
            assert value(shop.tasks.answer) == "the first answer"
        assert worker.said.count("cannot be imported") == 1
        said = worker.said[worker.said.index("cannot be imported") :].splitlines()
        assert "earlier code" in said[0]
        assert any(line.strip().startswith("SyntaxError") for line in said), said
        assert any(f'File "{shop.folder}/tasks.py", line 1' in line for line in said), said
        assert "importlib._bootstrap" not in worker.said
        shop.answer("repaired")
        until(lambda: answers(shop.tasks.answer, "repaired"), seconds=SOON, what="the repair is in use")
    assert set(shop.site.runs().values_list("status", "attempts")) == {("SUCCESSFUL", 1)}


@pytest.mark.parametrize("broken", ["tasks.py", "../{name}_settings.py"])
def test_a_worker_waits_for_a_site_that_cannot_be_imported(shop: Shop, broken: str) -> None:
    broken = broken.format(name=shop.name)
    whole = (shop.folder / broken).read_text()
    shop.save(broken, "import no_such_module_anywhere\n")
    result = shop.tasks.answer.enqueue()

    repair = meanwhile(shop.site, lambda worker: shop.save(broken, whole))
    with repair, shop.worker("--log-format", "text"):
        assert result.wait(timeout=30, poll_interval=0.01).return_value == "the first answer"


def test_a_worker_that_waits_for_its_site_ends_when_asked(shop: Shop) -> None:
    shop.save("tasks.py", "import no_such_module_anywhere\n")

    def end(worker: Worker) -> None:
        family = worker.family()
        worker.signal(signal.SIGTERM)
        assert worker.exit_code() == 0
        until(lambda: not alive(family), what="nothing is left")

    with meanwhile(shop.site, end), pytest.raises(AssertionError), shop.worker():
        pass


def test_new_modules_and_folders_are_found(shop: Shop) -> None:
    with shop.worker() as worker:
        shop.save("jobs/__init__.py", "")
        shop.save("jobs/mail.py", TASKS.format(answer="from a new folder"))
        shop.save("tasks.py", TASKS.format(answer="x") + f"from {shop.name}.jobs import mail\n")
        mail = importlib.import_module(f"{shop.name}.jobs.mail")
        until(imported(worker, 1), seconds=SOON, what="the new code is imported")
        assert value(mail.answer) == "from a new folder"
        shop.save("jobs/mail.py", TASKS.format(answer="changed in the new folder"))
        until(
            lambda: answers(mail.answer, "changed in the new folder"), seconds=SOON, what="the change counts"
        )
        (shop.folder / "jobs/mail.py").unlink()
        until(lambda: "cannot be imported" in worker.said, seconds=SOON, what="the loss is noticed")


def test_only_code_counts(shop: Shop) -> None:
    foreign = ("notes.txt", ".hidden.py", "__pycache__/a.py", ".git/a.py", "node_modules/a.py", "env/a.py")
    shop.save("env/pyvenv.cfg", "")
    for name in foreign:
        shop.save(name, "x = 1")
    with shop.worker() as worker:
        for name in foreign:
            shop.save(name, "x = 2")
        shop.answer("a change that counts")
        until(imported(worker, 1), seconds=SOON, what="the new code is imported")
        assert value(shop.tasks.answer) == "a change that counts"
        # The first change is the one that is named.
        said = [line for line in worker.said.splitlines() if "code has changed" in line]
        assert len(said) == 1, said
        assert f"{shop.name}/tasks.py" in said[0]
