"""Tasks that do what tasks should, and what they should not."""

import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextvars import ContextVar
from pathlib import Path

from django.db import connection, transaction
from django.tasks.signals import task_finished, task_started
from django.utils import translation

from reproq_django import task
from reproq_django.errors import TaskCancelled

seen = []
marker = ContextVar("marker", default="unset")


def not_a_task():
    """Importable, but registered nowhere."""


@task
def add(a, b=0):
    return a + b


@task
def reference_count():
    """Of its own function, and that which nobody counts."""
    return sys.getrefcount(reference_count.func), sys.getrefcount(None)


@task
def echo(value=None):
    return value


@task
def variable(name):
    return os.environ.get(name)


@task
async def add_async(a, b):
    await asyncio.sleep(0)
    return a + b


@task
async def leaves_a_stray():
    asyncio.create_task(asyncio.sleep(3600), name="stray")  # noqa: RUF006
    return [each.get_name() for each in asyncio.all_tasks() if each.get_name() == "stray"]


@task
async def loop_identity():
    return id(asyncio.get_running_loop())


@task(takes_context=True)
def with_context(context, note):
    context.metadata["note"] = note
    return [context.attempt, context.result_id, context.task_path]


@task
def prints_everywhere():
    print("python says hello")
    os.write(1, b"descriptor says hello\n")
    subprocess.run(["echo", "subprocess says hello"], check=True)
    print("stderr says hello", file=sys.stderr)
    return "printed"


@task
def fails(message="boom"):
    raise ValueError(message)


@task(backoff=lambda error, attempt: 7.5 * attempt)
def fails_with_backoff():
    raise ValueError("later")


@task(backoff=lambda error, attempt: 1 / 0)
def fails_with_broken_backoff():
    raise ValueError("later")


@task
def exits():
    sys.exit(3)


@task
def interrupts():
    raise KeyboardInterrupt


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


@task
def raises_unprintable():
    raise UnprintableError


@task
def dies(code=9):
    os._exit(code)


@task
def segfaults():
    os.kill(os.getpid(), signal.SIGSEGV)


@task
def returns_foreign(kind):
    circle = []
    circle.append(circle)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    return {
        "object": {"rows": [1, object()]},
        "set": {"a": {1}},
        "nan": [1.0, float("nan")],
        "circle": circle,
        "deep": deep,
        "tuple key": {(1, 2): 3},
        "large": "x" * (17 * 1024 * 1024),
    }[kind]


@task
def returns_odd_text():
    return "nul \0 surrogate \ud800 snow ☃"


@task
def raises_odd_text():
    raise ValueError("nul \0 surrogate \ud800 snow ☃")


@task
def leaves_transaction_open():
    transaction.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS left_open (x INTEGER)")
    return connection.get_autocommit()


@task
def autocommit_is_on():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return [connection.get_autocommit(), connection.in_atomic_block]


@task
def query_in_the_loop_is_closed():
    return connection.connection is None


@task
def activates_language():
    translation.activate("cs")
    return translation.get_language()


@task
def language():
    return translation.get_language()


@task
def random_number():
    return random.getrandbits(64)


@task
def process_facts():
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "group": os.getpgid(0),
        "stdin": os.readlink("/proc/self/fd/0"),
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
    }


@task
def sleeps(seconds, witness=None):
    if witness:
        with open(witness, "w") as file:
            file.write(str(os.getpid()))
    time.sleep(seconds)
    return "slept"


def _say(witness, word):
    with open(witness, "a") as file:
        file.write(f"{word}\n")


@task
def cleans_up(witness, seconds=600):
    """What a task may do about a cancellation: let it pass."""
    _say(witness, "up")
    try:
        time.sleep(seconds)
    except Exception:  # noqa: BLE001 - what a careless task does
        _say(witness, "swallowed")
    finally:
        _say(witness, "cleaned")


@task(takes_context=True)
def interrupted_in_transaction(context, witness):
    context.metadata["step"] = 1
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        _say(witness, "up")
        time.sleep(600)


@task
def makes_a_success_of_it(witness):
    _say(witness, "up")
    try:
        time.sleep(600)
    except TaskCancelled:
        return "as far as I came"


@task
def fails_over_it(witness):
    _say(witness, "up")
    try:
        time.sleep(600)
    except TaskCancelled:
        raise ValueError("cannot stop") from None


@task
def counts_interruptions(witness, seconds):
    """Go on for ``seconds`` after the first interruption; return how many there were."""
    _say(witness, "up")
    until, count = None, 0
    while until is None or time.monotonic() < until:
        try:
            time.sleep(0.01)
        except TaskCancelled:
            count += 1
            _say(witness, "interrupted")
            until = until or time.monotonic() + seconds
    return count


@task
async def cleans_up_async(witness, seconds=600):
    _say(witness, "up")
    try:
        await asyncio.sleep(seconds)
    except Exception:  # noqa: BLE001 - what a careless task does
        _say(witness, "swallowed")
    finally:
        await asyncio.sleep(0)
        _say(witness, "cleaned")


@task
async def cancels_itself_async():
    raise asyncio.CancelledError("by itself")


@task
def gives_up():
    raise TaskCancelled("not wanted any more")


@task
def takes_the_signal():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@task
def starts_child(witness):
    """A child by fork, as multiprocessing makes them, that SIGTERM has to end."""
    pid = os.fork()
    if pid == 0:
        with open(witness, "w") as file:
            file.write("up")
        time.sleep(3600)
        os._exit(0)
    while not os.path.exists(witness):
        time.sleep(0.01)
    os.kill(pid, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@task
def terminates_itself():
    os.kill(os.getpid(), signal.SIGTERM)
    return "still here"


@task
def closes_its_streams():
    sys.stdout.close()
    return "closed"


@task
def connects_raising_receivers():
    task_finished.connect(_raises, weak=False)
    task_started.connect(_exits, weak=False)
    task_finished.connect(_remembers, weak=False)
    return threading.active_count()


@task
def what_receivers_saw():
    return seen


def _raises(**kwargs):
    raise RuntimeError("receiver")


def _exits(**kwargs):
    raise SystemExit(4)


def _remembers(sender, task_result, **kwargs):
    seen.append([sender.__name__, task_result.status, task_result.task.name])


@task
async def sleeps_async(seconds, answer=None):
    await asyncio.sleep(seconds)
    return answer


@task
async def prints_async(word, times):
    for number in range(times):
        print(word, number)
        logging.getLogger("sample").warning("%s logged", word)
        await asyncio.sleep(0)
        await asyncio.to_thread(print, word, "from a thread")


@task
async def keeps_the_loop(seconds):
    time.sleep(seconds)


@task
async def swallows_cancellation(witness):
    Path(witness).touch()
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        return "stayed"


@task
async def leaves_strays_running(witness):
    async def stray():
        try:
            await asyncio.sleep(600)
        finally:
            Path(witness).write_text("ended")

    asyncio.create_task(stray())  # noqa: RUF006 - what such a task does wrong
    await asyncio.sleep(0)


@task
def waits_for_the_other(folder, mine, other):
    """Ends only if two of it run at the same time."""
    Path(folder, mine).touch()
    deadline = time.monotonic() + 30
    while not Path(folder, other).exists():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)
    print("met", other)
    return threading.current_thread() is not threading.main_thread()


@task
def turns_in_python(witness):
    Path(witness).touch()
    while True:
        time.sleep(0.01)
