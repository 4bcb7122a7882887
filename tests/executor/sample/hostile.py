"""Tasks that nobody should write, and somebody has."""

import asyncio
import gc
import locale
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

from asgiref.sync import sync_to_async

from reproq_django import task
from sample.tasks import _say

marker = ContextVar("marker", default="unset")
kept = []


# --- what a next task would notice


def leave_to_a_folder_that_is_removed():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)


LEAVES = {
    "folder": lambda: os.chdir("/"),
    "lost folder": lambda: leave_to_a_folder_that_is_removed(),
    "variable": lambda: os.environ.update(LEFT="behind"),
    "no variable": lambda: os.environ.pop("PATH"),
    "umask": lambda: os.umask(0o077),
    "SIGTERM": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "SIGUSR1": lambda: signal.signal(signal.SIGUSR1, lambda *_: None),
    "SIGALRM": lambda: signal.signal(signal.SIGALRM, signal.SIG_IGN),
    "blocked": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}),
    "locale": lambda: locale.setlocale(locale.LC_ALL, "C"),
    "thread": lambda: threading.Thread(
        target=time.sleep, args=(600,), name="left-thread", daemon=True
    ).start(),
    "timer": lambda: threading.Timer(600, print).start(),
    "stdout": lambda: setattr(sys, "stdout", open(os.devnull, "w")),  # noqa: SIM115
    "no stderr": lambda: setattr(sys, "stderr", None),
    "closed stderr": lambda: sys.stderr.close(),
    "recursion limit": lambda: sys.setrecursionlimit(5000),
    "trace": lambda: sys.settrace(lambda *_: None),
    "profile": lambda: sys.setprofile(lambda *_: None),
    "no gc": gc.disable,
    "socket timeout": lambda: socket.setdefaulttimeout(5),
}  # fmt: skip


@task
def leaves(what):
    LEAVES[what]()
    return "left"


@task
def leaves_a_process():
    return subprocess.Popen(["sleep", "600"]).pid


@task
def leaves_a_daemon(witness):
    """A double fork in a session of its own, with a child that has left that session in turn."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            daemon = os.getpid()
            if os.fork() == 0:
                os.setsid()
                _say(witness, str(daemon))
                _say(witness, str(os.getpid()))
                _say(witness, "up")
            time.sleep(600)
        os._exit(0)
    os.wait()
    while "up" not in (open(witness).read() if os.path.exists(witness) else ""):  # noqa: SIM115
        time.sleep(0.005)


@task
def leaves_a_zombie():
    """A process that has ended, and that nobody has waited for."""
    kept.append(subprocess.Popen(["true"]))
    os.waitid(os.P_PID, kept[-1].pid, os.WEXITED | os.WNOWAIT)


@task
def uses_threads():
    """As one should: they are gone, or about to go, at the end."""
    with ThreadPoolExecutor() as pool:
        list(pool.map(time.sleep, [0.001] * 8))
    pool = ThreadPoolExecutor(4)
    pool.submit(time.sleep, 0.01)
    pool.shutdown(wait=False)


@task
async def uses_threads_async():
    """asyncio's and asgiref's threads stay, idle, for the next coroutine."""
    await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.001) for _ in range(8)))
    return await sync_to_async(threading.get_ident)() != threading.get_ident()


@task
async def leaves_a_busy_thread_async():
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)


@task
def leaves_a_variable_of_context():
    before = marker.get()
    marker.set("left")
    return before


@task
async def leaves_a_variable_of_context_async():
    before = marker.get()
    marker.set("left")
    return before


# --- ends of a process that is not asked


@task
def closes_everything():
    os.closerange(0, 4096)


@task
def closes_its_stream():
    """All but the standard streams, and then takes their numbers."""
    os.closerange(3, 4096)


@task
def closes_stdout():
    os.close(1)


@task
def forks_and_both_return():
    os.fork()
    return os.getpid()


@task
def talks_to_the_stream():
    """What a guess at the protocol would look like."""
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, b"garbage")
        except OSError:
            continue


# --- what is raised and returned


class OddError(Exception):
    __module__ = 5

    def __str__(self):
        raise SystemExit("no text")

    def __repr__(self):
        raise KeyboardInterrupt

    def __getattr__(self, name):
        raise MemoryError


class Odd(dict):
    def items(self):
        raise GeneratorExit

    def __bool__(self):
        raise OddError


def recurse(depth=0):
    return recurse(depth + 1) + 1


def raise_from_afar(error, links):
    for _ in range(links):
        try:
            raise error
        except Exception as cause:  # noqa: BLE001
            error = ValueError("link")
            error.__cause__ = cause
    raise error


RAISES = {
    "SystemExit": lambda: sys.exit("enough"),
    "KeyboardInterrupt": lambda: (_ for _ in ()).throw(KeyboardInterrupt()),
    "GeneratorExit": lambda: (_ for _ in ()).throw(GeneratorExit()),
    "odd": lambda: (_ for _ in ()).throw(OddError()),
    "group": lambda: (_ for _ in ()).throw(ExceptionGroup("g", [ValueError(str(n)) for n in range(10_000)])),
    "base group": lambda: (_ for _ in ()).throw(BaseExceptionGroup("g", [KeyboardInterrupt(), SystemExit()])),
    "recursion": recurse,
    "surrogate": lambda: (_ for _ in ()).throw(ValueError("lone \ud800 and nul \0")),
    "large": lambda: (_ for _ in ()).throw(ValueError("x" * 50_000_000)),
    "chain": lambda: raise_from_afar(ValueError("first"), 2000),
    "import": lambda: __import__("sample.broken_module"),
    "memory": lambda: bytearray(2**62),
}  # fmt: skip


@task
def raises(name):
    RAISES[name]()


@task
async def raises_async(name):
    await asyncio.sleep(0)
    RAISES[name]()


@task
def returns(name):
    return {
        "50 MB": "x" * 50_000_000,
        "odd": Odd(a=1),
        "nan": float("nan"),
        "infinity": [float("-inf")],
        "lone surrogate": "\ud800",
        "nul": "\0",
        "large number": 10**5000,
        "keys": {1: "a", None: "b", 2.5: "c"},
    }[name]


@task
def prints(characters):
    os.write(1, b"x" * characters)
    return "printed"
