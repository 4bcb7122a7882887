"""Tasks that look at the process that they are in, and say what they find."""

import locale
import mmap
import os
import resource
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from django.db import connection

from reproq_django import task
from testapp.zoo import MIB, sockets


@task(max_attempts=1, timeout=60, priority=-1, dedup=False)
def looks_around(place, lookers):
    """Say how the process is, when so many look at the same time: then each has a slot to itself."""
    began = time.time()
    Path(place, f"{os.getpid()}").touch()
    until = time.monotonic() + 50
    while len(os.listdir(place)) < lookers:
        if time.monotonic() > until:
            raise TimeoutError("there is no slot for everybody")
        time.sleep(0.005)
    return {"began": began, "pid": os.getpid(), "finds": _finds()}


def _finds():
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
    os.umask(umask := os.umask(0o022))
    return {
        "folder": os.getcwd(),
        "environment": dict(sorted(os.environ.items())),
        "umask": umask,
        "locale": locale.setlocale(locale.LC_ALL),
        "handlers": [_name(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "blocked": sorted(int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "threads": [thread.name for thread in threading.enumerate()],
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
        "streams": [stream.fileno() for stream in (sys.stdout, sys.stderr)],
        "kinds of descriptors": sorted(
            os.readlink(f"/proc/self/fd/{descriptor}").partition(":")[0] for descriptor in (0, 1, 2)
        ),
        "recursion limit": sys.getrecursionlimit(),
        "bound of its memory": resource.getrlimit(resource.RLIMIT_DATA),
        "socket timeout": socket.getdefaulttimeout(),
        "in a transaction": [connection.in_atomic_block, not connection.get_autocommit()],
        "left in a transaction": "left_in_a_transaction" in tables,
    }


def _name(handler):
    # Their addresses differ from one zygote to the next.
    return getattr(handler, "__qualname__", str(handler))


@task(max_attempts=1, isolation="fork", dedup=False)
def says_who_it_is():
    """Its process, and the sockets that it has: its stream, and on PostgreSQL its connection."""
    connection.ensure_connection()
    opened = [os.readlink(f"/proc/self/fd/{descriptor}") for descriptor in sockets()]
    connection.close()
    return {"pid": os.getpid(), "sockets": opened}


_kept = []


@task(max_attempts=1, timeout=60, dedup=False)
def leaks(megabytes):
    """Keep memory that nobody needs, and say how much the process has of it."""
    _kept.append(os.urandom(MIB) * megabytes)
    with open("/proc/self/statm") as file:
        return [os.getpid(), int(file.read().split()[1]) * mmap.PAGESIZE]


@task(dedup=False)
def variable(name):
    return os.environ.get(name)
