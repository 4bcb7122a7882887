"""Tasks that decide what becomes of their runs, or whose process decides it for them."""

import os
import time
from pathlib import Path

from reproq_django import Cancel, Discard, Retry, Snooze, task
from testapp.tasks import witness


@task(max_attempts=1, takes_context=True)
def snoozes(context, times):
    witness("look")
    context.metadata["looked"] = True
    if Path(os.environ["REPROQ_WITNESS"]).read_text().count("look") <= times:
        raise Snooze(0.05)
    return context.attempt


@task(max_attempts=3, backoff=600)
def asks_for_another():
    witness("attempt")
    raise Retry(after=0.05, message="not yet")


@task(max_attempts=3)
def gives_up():
    witness("attempt")
    raise Discard("no such customer")


@task(max_attempts=3, retry_on=OSError, backoff=0)
def is_picky(error):
    witness("attempt")
    raise {"os": OSError, "value": ValueError}[error](error)


@task
def cancels_itself():
    raise Cancel("nobody wants it")


@task(max_attempts=1, timeout=30, soft_timeout=0.2)
def takes_too_long():
    time.sleep(600)


@task(max_attempts=1, max_memory="64M")
def takes_too_much():
    return len(bytearray(512 * 2**20))


@task(max_attempts=100, backoff=0)
def kills_its_process():
    witness("attempt")
    os._exit(9)


@task
def leaves_its_folder():
    os.chdir("/")
    os.environ["LEFT"] = "behind"
    return os.getpid()


@task
def looks_around():
    return [os.getpid(), os.getcwd(), os.environ.get("LEFT")]
