"""Tasks that nobody should write, and somebody has. ``e2e/zoo.py`` says how each of them ends.

Each is a task of its own, because a worker goes by what a task has done before. What they take of the machine
is bounded, for the worst case that nothing stops them.
"""

import ctypes
import locale
import mmap
import os
import re
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from contextlib import suppress

from django.db import connection, transaction

from reproq_django import task

#: Some of this must only misbehave where it runs.
IN_A_WORKER = "REPROQ_WITNESS" in os.environ
#: What is left behind or hangs would end by itself after so long.
LONG = 120
MIB = 1024 * 1024

alone = task(max_attempts=1)
within_a_second = task(max_attempts=1, timeout=1)


# --- the process ends


@alone
def segfaults():
    ctypes.string_at(0)


@alone
def aborts():
    os.abort()


@alone
def exits_with_0():
    os._exit(0)


@alone
def exits_with_3():
    os._exit(3)


@alone
def kills_its_group():
    os.killpg(0, signal.SIGKILL)


@alone
def kills_its_parent():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(LONG)


@alone
def becomes_another_program():
    os.execv("/bin/true", ["true"])


@task(max_attempts=10, backoff=0)
def crashes_whenever_it_runs():
    os.kill(os.getpid(), signal.SIGSEGV)


# --- it uses what there is


@task(max_attempts=1, max_memory="64M")
def eats_memory():
    return len(bytearray(300 * MIB))


@task(max_attempts=1, max_memory="64M")
def eats_shared_memory():
    """The kernel's bound on private memory does not count it."""
    _fill_shared_memory()


@task(max_attempts=1, max_memory="128M")
def eats_memory_elsewhere():
    if (pid := os.fork()) == 0:
        _fill_shared_memory()
    os.waitpid(pid, 0)


def _fill_shared_memory():
    block = mmap.mmap(-1, 300 * MIB)
    for start in range(0, len(block), mmap.PAGESIZE):
        block[start] = 1
    time.sleep(LONG)
    os._exit(0)


def _storm(processes):
    for _ in range(processes):
        if os.fork() == 0:
            time.sleep(LONG)
            os._exit(0)


@alone
def forks_a_storm():
    _storm(200)


@within_a_second
def waits_in_its_storm():
    _storm(50)
    time.sleep(LONG)


@task(max_attempts=1, timeout=60)
def prints_without_newlines(megabytes):
    for _ in range(megabytes):
        sys.stdout.write("x" * MIB)


# --- it does not end


@within_a_second
def loops_in_c():
    """With the interpreter's lock, so that no handler of a signal runs."""
    return sum(range(10**12))


@within_a_second
def backtracks():
    return re.match(r"(a+)+$", "a" * 40 + "b")


@within_a_second
def sleeps_in_c():
    """With the interpreter's lock, too."""
    ctypes.PyDLL(None).sleep(LONG)


@within_a_second
def ignores_signals():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    time.sleep(LONG)


@within_a_second
def blocks_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    time.sleep(LONG)


@within_a_second
def swallows_everything():
    until = time.monotonic() + LONG
    while time.monotonic() < until:
        with suppress(BaseException):
            time.sleep(LONG)


@within_a_second
def stops_itself():
    os.kill(os.getpid(), signal.SIGSTOP)


@within_a_second
def waits_for_a_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


# --- it touches what the worker uses


@alone
def closes_all_descriptors():
    os.closerange(0, 4096)


@alone
def closes_its_stream():
    os.closerange(3, 4096)


@alone
def puts_something_in_place_of_all_descriptors():
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in open_descriptors():
        os.dup2(null, descriptor)


@alone
def writes_garbage_to_all_descriptors():
    """But to no file: that of a SQLite database would be lost, and nothing can prevent it."""
    for descriptor in open_descriptors():
        with suppress(OSError):
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.write(descriptor, os.urandom(1000))


@alone
def answers_for_another_run():
    """In a sound frame, on the protocol's stream."""
    answer = b'{"type":"result","result_id":"999999","epoch":1,"envelope":{"ok":true,"return":1}}'
    frame = b"RQF1" + struct.pack("<II", len(answer), zlib.crc32(answer)) + answer
    for descriptor in sockets():
        os.write(descriptor, frame)


def open_descriptors():
    return [int(name) for name in os.listdir("/proc/self/fd")]


def sockets():
    for descriptor in open_descriptors():
        with suppress(OSError):
            if os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:"):
                yield descriptor


# --- what it returns


@alone
def returns_50_megabytes():
    return "x" * 50_000_000


@alone
def returns_nan():
    return [float("nan")]


@alone
def returns_a_lone_surrogate():
    return "\ud800"


@alone
def returns_nul():
    return "a\0b"


@alone
def returns_bytes():
    return b"\xff\xfe"


@alone
def returns_itself():
    value = []
    value.append(value)
    return value


@alone
def returns_deeply_nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


# --- what it raises


class TextlessError(Exception):
    def __str__(self):
        raise SystemExit("no text")

    __repr__ = __str__


@alone
def recurses(depth=0):
    return recurses.func(depth + 1) + 1


@alone
def exits_softly():
    sys.exit("enough")


@alone
def interrupts_itself():
    raise KeyboardInterrupt


@alone
def raises_without_text():
    raise TextlessError


@alone
def raises_a_group():
    raise ExceptionGroup("many", [ValueError(str(number)) for number in range(1000)])


@alone
def raises_what_no_database_takes():
    raise ValueError("nul \0 and \ud800 " + "x" * 10_000_000)


# --- it is no task


def is_no_task():
    return "called"


if not IN_A_WORKER:
    is_no_task = alone(is_no_task)


# --- what it leaves behind


@alone
def leaves_a_grandchild():
    if (pid := os.fork()) == 0:
        os.setsid()
        subprocess.Popen(["sleep", str(LONG)])
        os._exit(0)
    os.waitpid(pid, 0)


@alone
def leaves_a_daemon():
    if (pid := os.fork()) == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 4096)
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            time.sleep(LONG)
        os._exit(0)
    os.waitpid(pid, 0)


@alone
def leaves_a_thread():
    threading.Thread(target=time.sleep, args=(LONG,)).start()


@alone
def leaves_a_transaction():
    transaction.atomic().__enter__()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE left_in_a_transaction (number integer)")


@alone
def leaves_a_transaction_of_its_own_making():
    """That Django knows nothing of."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("CREATE TABLE left_in_a_transaction (number integer)")


@alone
def leaves_its_folder():
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)


@alone
def leaves_variables():
    os.environ["LEFT"] = "behind"
    del os.environ["DJANGO_SETTINGS_MODULE"]


@alone
def leaves_a_locale():
    locale.setlocale(locale.LC_ALL, "C")


@alone
def leaves_a_handler():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda *_: None)


@alone
def leaves_signals_blocked():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR1})


@alone
def leaves_an_alarm():
    signal.alarm(1)


@alone
def leaves_a_umask():
    os.umask(0o077)


@alone
def leaves_another_stdout():
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115


@alone
def leaves_a_closed_stdout():
    sys.stdout.close()


@alone
def leaves_a_recursion_limit():
    sys.setrecursionlimit(200)
