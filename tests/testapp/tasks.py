"""Tasks for the tests: of the library, and of the real worker (e2e).

A task that must be seen to run appends a line to the file named by REPROQ_WITNESS: O_APPEND, so lines of
processes that write at the same time do not mix.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time

from django.db import connection

from reproq_django import Cancel, Discard, Retry, Snooze, task
from reproq_django.concurrency import limits_concurrency
from reproq_django.errors import TaskCancelled
from reproq_django.workflows import Workflow


def witness(line: str) -> None:
    """Append ``line`` to the witness file, if there is one."""
    path = os.environ.get("REPROQ_WITNESS")
    if path:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)


@task
def noop(*args, **kwargs):
    """Nothing."""


@task
def add(a, b):
    return a + b


@task
async def add_async(a, b):
    await asyncio.sleep(0)
    return a + b


@task
def echo(value):
    return value


@task
def mark(number):
    """Say that it ran."""
    witness(f"mark {number}")
    return number


@task(takes_context=True)
def with_context(context, step):
    context.metadata["step"] = step
    context.save_metadata()
    return {"id": context.result_id, "attempt": context.attempt, "queue": context.queue_name}


@task(takes_context=True)
async def with_context_async(context, step):
    context.metadata["step"] = step
    await context.asave_metadata()
    return context.attempt


@task(takes_context=True, max_attempts=3, backoff=0.2)
def flaky(context, succeed_at):
    """Fail until attempt ``succeed_at``."""
    witness(f"flaky {context.attempt}")
    if context.attempt < succeed_at:
        raise ValueError(f"attempt {context.attempt} fails")
    return context.attempt


@task(max_attempts=1)
def fail(message="no"):
    raise ValueError(message)


@task(max_attempts=1)
def returns_non_json():
    return object()


@task(max_attempts=1)
def exit_hard(code=3):
    os._exit(code)


@task(max_attempts=1)
def exit_softly(code=3):
    sys.exit(code)


@task
def print_much(megabytes=10):
    line = "x" * 1023 + "\n"
    for _ in range(1024 * megabytes):
        sys.stdout.write(line)
    sys.stdout.flush()
    return megabytes


@task(max_attempts=1, timeout=1)
def sleep_beyond_timeout(seconds=30):
    time.sleep(seconds)


def _show_processes(seconds):
    """Start a process and name it and this one."""
    helper = subprocess.Popen(["sleep", str(seconds)])
    for pid in (os.getpid(), helper.pid):
        witness(f"pid {pid}")


@task(max_attempts=1)
def linger(seconds):
    """Two processes that want to be left alone."""
    _show_processes(seconds)
    witness("start")
    time.sleep(seconds)
    witness("late")


@task(max_attempts=1, timeout=1)
def linger_beyond_timeout(seconds):
    linger.func(seconds)


@task(max_attempts=1)
def exit_beside_a_process(seconds):
    _show_processes(seconds)
    os._exit(7)


@task(max_attempts=1, timeout=5)
def leave_a_thread(seconds):
    """Return, while a thread that is no daemon goes on."""
    witness(f"pid {os.getpid()}")
    threading.Thread(target=time.sleep, args=[seconds]).start()
    return "returned"


@task(max_attempts=1, timeout=5)
def leave_a_fork(seconds):
    """Return, while a fork of this process, and a thread, go on."""
    if os.fork() == 0:
        time.sleep(seconds)
        os._exit(0)
    return leave_a_thread.func(seconds)


@task(max_attempts=1, timeout=2)
def size_at_once(text):
    return len(text)


@task
def sleep_and_mark(number, seconds):
    """Say that it starts, sleep, say that it ends."""
    witness(f"start {number}")
    time.sleep(seconds)
    witness(f"end {number}")
    return number


@task(max_attempts=3)
def stoppable(seconds):
    """Sleep; whatever stops that, clean up."""
    witness(f"pid {os.getpid()}")
    witness("start")
    try:
        time.sleep(seconds)
        witness("end")
    finally:
        witness("cleaned")


@task(max_attempts=3)
def turn_slow(number, seconds):
    """A task that takes no time, until it does."""
    if seconds:
        stoppable.func(seconds)


@task(max_attempts=3)
def turn_slow_too(number, seconds):
    """One that nobody has seen before."""
    turn_slow.func(number, seconds)


@task(max_attempts=3)
async def stoppable_async(seconds):
    """The same as a coroutine."""
    witness(f"pid {os.getpid()}")
    witness("start")
    try:
        await asyncio.sleep(seconds)
        witness("end")
    finally:
        witness("cleaned")


@task(max_attempts=3)
def stubborn(seconds):
    """Take no hint, in the company of another process."""
    _show_processes(seconds)
    witness("start")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            time.sleep(seconds)
        except BaseException:  # noqa: BLE001 - that is the point
            witness("hint")


@task
def stop_early(seconds):
    """Make a result of what is there when it is told to stop."""
    witness("start")
    try:
        time.sleep(seconds)
    except TaskCancelled:
        return "early"


@task(max_attempts=3, backoff=0)
def fail_when_stopped(seconds):
    """Answer a cancellation with an error that would be tried again."""
    witness("start")
    try:
        time.sleep(seconds)
    except TaskCancelled:
        raise ValueError("cannot stop") from None


@task(max_attempts=3, backoff=600)
def fail_and_wait():
    """Fail, and be tried again much later."""
    raise ValueError("later")


@task(max_attempts=3)
def sleep_in_the_database(seconds):
    """PostgreSQL only."""
    witness("start")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", [seconds])


@task
def queries_of(words):
    """How many queries with these words the server is busy with, this one aside."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE state = 'active' AND pid <> pg_backend_pid() AND query LIKE %s",
            [f"%{words}%"],
        )
        return [os.getpid(), cursor.fetchone()[0]]


@task
def process_id():
    return os.getpid()


@task
async def process_id_async():
    return os.getpid()


@task
def size_of(text):
    return len(text)


@task
def owns_the_names(run_after=None, priority=None, lock_key=None):
    """Its parameters are named like enqueue options, and stay its own."""
    return [run_after, priority, lock_key]


@task(
    max_attempts=5,
    timeout=7.5,
    backoff={"base": 1, "factor": 3},
    lock_key="the-lock",
    dedup=True,
)
def with_options():
    """All kinds of options."""


@limits_concurrency(lambda account, **_: f"account:{account}", to=2)
@task
def limited_above(account):
    """The decorator above @task."""


@task
@limits_concurrency("everyone")
def limited_below():
    """The decorator below @task."""


@task
def print_now_and_then(number):
    """Print ``number``, if it is one of seventeen."""
    if number % 17 == 0:
        print(number)


@task(takes_context=True, max_attempts=2, backoff=0)
def speak(context):
    """Print in every way that there is; the first attempt fails."""
    print("one", context.attempt)
    os.write(1, b"two\n")
    subprocess.run(["echo", "three"], check=True)
    logging.getLogger("testapp").warning("four")
    sys.stdout.write("five")
    sys.stderr.write("six\n")
    if context.attempt == 1:
        raise ValueError("again")


@task(max_attempts=2, backoff=0)
def print_in_steps():
    """Print a line as soon as the witness file asks for it; the first attempt kills its process."""
    attempt = 1 + sum(line.startswith("attempt") for line in _witnessed())
    witness(f"attempt {attempt}")
    for step in (1, 2):
        while f"print {attempt}.{step}" not in _witnessed():
            time.sleep(0.02)
        print(f"step {attempt}.{step} of {os.getpid()}")
    if attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def _witnessed():
    with open(os.environ["REPROQ_WITNESS"]) as file:
        return file.read().splitlines()


@task
def print_without_newlines(megabytes):
    """End with what can be recognised."""
    for _ in range(megabytes * 16):
        sys.stdout.write("x" * 65536)
    sys.stdout.write("END")


@task
def print_garbage():
    """Bytes that are no text."""
    os.write(1, b"a\0b\xff\xfe\xed\xa0\x80c\n")


def _tick(number, seconds):
    """Say again and again who runs, and when: the same clock for all processes of a machine."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        witness(f"tick {number} {os.getpid()} {time.monotonic_ns()}")
        time.sleep(0.02)


def _last_tick():
    """When somebody has said last that it runs; 0: nobody has."""
    with open(os.environ["REPROQ_WITNESS"], "a+") as lines:
        lines.seek(0)
        return max((int(line.split()[3]) for line in lines if line.startswith("tick")), default=0)


def _leave(work):
    """Do ``work`` in a process that has left its session and its parents."""
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    try:
        work()
    finally:
        os._exit(0)


def _hop(seconds):
    """Change the process a thousand times a second: by the time that one has been found, it is another."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.001)
        witness(f"tick hop {os.getpid()} {time.monotonic_ns()}")
        if os.fork():
            os._exit(0)
        os.setsid()


@task(max_attempts=1000)
def roam(number, seconds):
    """Run together with a daemon and a process that has only left the session; both would go on."""
    witness(f"start {number} {os.getpid()}")
    _leave(lambda: _tick(number, seconds + 20))
    subprocess.Popen(["sleep", "30"], start_new_session=True)
    _tick(number, seconds)
    witness(f"end {number}")


@task(max_attempts=1)
def hop_away(seconds):
    """Leave a process behind that is hard to catch, and more of them."""
    for _ in range(3):
        _leave(lambda: _hop(30))
    witness("start")
    time.sleep(seconds)


@task(max_attempts=1)
def leave_a_daemon(kind):
    """Return, while a process of that kind goes on."""
    if kind == "daemon":
        _leave(lambda: _tick("daemon", 30))
    else:
        _leave(lambda: _hop(30))
    while not _last_tick():
        time.sleep(0.005)
    return os.getpid()


@task(max_attempts=1)
def rely_on_a_daemon(seconds):
    """Be served by a process whose parent is gone, until the task ends."""
    _leave(lambda: _tick("served", 30))
    witness("start")
    time.sleep(seconds)
    return (time.monotonic_ns() - _last_tick()) / 1e9


@task(max_attempts=1)
def kill_the_parent():
    """Kill whoever has started this process."""
    os.kill(os.getppid(), 9)
    time.sleep(30)


@task
def process_of(number):
    """The process of this one of several runs."""
    return os.getpid()


@task
async def sleep_async(seconds, number=0):
    """End after a while, in the process that says who it is."""
    await asyncio.sleep(seconds)
    return os.getpid()


@task(max_attempts=1, timeout=2)
async def sleep_async_beyond_timeout(seconds=60):
    witness("start")
    await asyncio.sleep(seconds)


@task(max_attempts=1, timeout=2)
async def swallow_every_stop(seconds=60):
    """Never end by itself, in a way that the others can live with."""
    witness("start")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(seconds)


@task(max_attempts=1, timeout=8)
async def keep_the_loop(seconds):
    witness("start")
    time.sleep(seconds)


@task(max_attempts=1)
async def exit_hard_async(seconds):
    witness("start")
    await asyncio.sleep(seconds)
    os._exit(3)


@task
async def print_async(word, times):
    for number in range(times):
        print(word, number)
        await asyncio.sleep(0.01)


@task(max_attempts=1, isolation="fork")
def forked(number):
    return os.getpid()


@task(max_attempts=1, isolation="process")
def in_a_process_of_its_own():
    return os.getpid(), sys.argv[1:2]


@task(max_attempts=1)
def thread_name(number):
    """Whether another of this kind runs in the same process at the same time."""
    witness(f"thread {os.getpid()} {threading.get_ident()}")
    time.sleep(0.5)
    return os.getpid()


_leaked = []


@task
def leak(megabytes, number):
    """Keep memory that nobody needs."""
    _leaked.append(bytearray(os.urandom(1024) * (1024 * megabytes)))
    return os.getpid()


@task(max_attempts=1, max_memory="200M")
def eat(megabytes, where):
    """Use memory: in Python, or in another process."""
    if where == "python":
        block = bytearray(b"x" * (1024 * 1024)) * megabytes
        return len(block)
    # What it starts inherits the limit, and may lift it.
    lift = "import resource as r; r.setrlimit(r.RLIMIT_DATA, (r.getrlimit(r.RLIMIT_DATA)[1],) * 2)"
    code = f"{lift}; import time; block = bytearray(b'x' * 1024 * 1024) * {megabytes}; time.sleep(60)"
    subprocess.run([sys.executable, "-c", code], check=True)
    return None


@task(takes_context=True, max_attempts=1, timeout=1)
def take_more_time(context, seconds):
    context.extend_timeout(seconds + 5)
    time.sleep(seconds)


@task(takes_context=True, max_attempts=1)
def report_progress(context, steps):
    for step in range(1, steps + 1):
        context.progress(step, steps, f"step {step}")
        witness(f"step {step}")
        time.sleep(1.1)


@task(max_attempts=3)
def snooze(times):
    if len(_witnessed_snoozes()) < times:
        witness("snooze")
        raise Snooze(0.05)
    return "awake"


def _witnessed_snoozes():
    path = os.environ["REPROQ_WITNESS"]
    return [line for line in _witnessed() if line == "snooze"] if os.path.exists(path) else []


@task(max_attempts=3, backoff=600)
def wish(name):
    witness(name)
    if name == "retry":
        raise Retry(after=0.05)
    raise {"discard": Discard, "cancel": Cancel}[name]("as it wishes")


@task(max_attempts=3, backoff=0, retry_on=(ConnectionError,), discard_on=(LookupError,))
def fail_as(name):
    witness(name)
    raise {"connection": ConnectionError, "key": KeyError, "value": ValueError}[name](name)


@task(max_attempts=2, backoff=0, timeout=20, soft_timeout=0.5)
def stop_softly():
    witness("start")
    time.sleep(60)


@task(max_attempts=3, backoff=0)
def crash_always():
    os.kill(os.getpid(), signal.SIGSEGV)


@task(takes_context=True, max_attempts=1)
def say_how_far(context):
    """Say, again and again, up to which number the witness file asks; end at 3."""
    step = 0
    while step < 3:
        step = sum(line.startswith("step") for line in _witnessed())
        context.progress(step, 3, f"step {step}")
        time.sleep(0.02)


@task(takes_context=True)
async def say_how_far_async(context, number):
    """Say something of its own among others, and print it."""
    print(f"I am {number}")
    context.progress(number, 10)
    while "go" not in _witnessed():
        await asyncio.sleep(0.02)
    context.progress(number + 1, 10, "done")


@task(takes_context=True, max_attempts=4, backoff=0, timeout=2)
def end_in_every_way(context):
    """Raise, crash, take too long, return."""
    if context.attempt == 1:
        raise LookupError("nothing there")
    if context.attempt == 2:
        os.kill(os.getpid(), signal.SIGSEGV)
    if context.attempt == 3:
        sum(range(3_000_000))
        time.sleep(30)
    return "at last"


@task(max_attempts=1)
def fail_unless_mended(name):
    """Fail until the witness file says that it is mended."""
    witness(f"try {name}")
    if f"mended {name}" not in _witnessed():
        raise ValueError(f"{name} is broken")
    return name


@task(takes_context=True)
def mourn(context, results):
    """Say because of whom the workflow of this run has failed."""
    workflow = Workflow.of(context.task_result)
    return {"status": workflow.status().status, "culprits": workflow.culprits(), "results": results}
