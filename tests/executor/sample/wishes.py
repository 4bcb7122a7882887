"""Tasks that say what becomes of their run, how far it is, how long it may take and with how much memory."""

import asyncio
import threading
import time

from reproq_django import Cancel, Discard, Retry, Snooze, SoftTimeout, task
from sample.tasks import _say


@task
def snoozes(seconds):
    raise Snooze(seconds)


@task(takes_context=True)
def snoozes_with_a_note(context):
    context.metadata["looked"] = context.metadata.get("looked", 0) + 1
    raise Snooze(60)


@task
async def snoozes_async():
    await asyncio.sleep(0)
    raise Snooze(2.5)


@task(retry_on=ValueError, backoff=lambda error, attempt: 40)
def retries(after=None, message=""):
    raise Retry(after, message)


@task
def discards():
    raise Discard("no such customer")


@task
def cancels():
    raise Cancel("nobody wants it")


RAISED = {
    "os": OSError("os"),
    "timeout": TimeoutError("timeout"),
    "missing": FileNotFoundError("missing"),
    "value": ValueError("value"),
    "group": ExceptionGroup("many", [OSError("one"), TimeoutError("two")]),
    "mixed": ExceptionGroup("many", [OSError("one"), ValueError("two")]),
    "worse": ExceptionGroup("many", [OSError("one"), FileNotFoundError("two")]),
    "exit": SystemExit(2),
}


@task(retry_on=(OSError,), discard_on=(FileNotFoundError,))
def chooses(name):
    raise RAISED[name]


@task(soft_timeout=0.2)
def is_slow(witness, *, seconds=600):
    _say(witness, "up")
    try:
        time.sleep(seconds)
    except Exception:  # noqa: BLE001 - what a careless task does
        _say(witness, "swallowed")
    finally:
        _say(witness, "cleaned")


@task(soft_timeout=0.2)
async def is_slow_async(witness, *, seconds=600):
    _say(witness, "up")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError as error:
        _say(witness, type(error.args[0]).__name__)
        raise
    finally:
        _say(witness, "cleaned")


@task(soft_timeout=0.2)
def turns_in_python():
    while True:
        time.sleep(0.01)


@task(soft_timeout=0.2)
def makes_the_best_of_it():
    try:
        time.sleep(600)
    except SoftTimeout as error:
        return str(error)


@task(soft_timeout=0.2)
def goes_on_after_its_soft_timeout(witness):
    """Until somebody cancels it."""
    try:
        time.sleep(600)
    except SoftTimeout:
        _say(witness, "up")
        time.sleep(600)


@task(soft_timeout=0.05)
def is_quick(value):
    return value


@task(soft_timeout=0.4, timeout=1, takes_context=True)
def wants_more_time(context):
    """The soft timeout comes 0.6 s before the hard one, also after that has moved."""
    start = time.monotonic()
    context.extend_timeout(1.6)
    try:
        time.sleep(600)
    except SoftTimeout:
        first = time.monotonic() - start
    context.extend_timeout(0.9)
    try:
        time.sleep(600)
    except SoftTimeout:
        return [first, time.monotonic() - start - first]


@task(takes_context=True)
def reports(context, count, pause=0.0):
    for number in range(count):
        context.progress(number, count, f"word {number}")
        time.sleep(pause)
    return "reported"


@task(takes_context=True)
async def reports_async(context):
    await context.aprogress(1, 2)
    await context.aprogress(2, 2, "nul \0 surrogate \ud800")


@task(takes_context=True)
def reports_from_threads(context):
    def work(number):
        for turn in range(200):
            context.progress(turn, message="x" * 900)
            context.extend_timeout(number + 1)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@task(takes_context=True)
def extends_for_ever(context, witness):
    _say(witness, "up")
    while True:
        context.extend_timeout(60)


@task(takes_context=True)
def keeps_talking(context):
    """A thread that goes on after the end of its task."""

    def work():
        while True:
            context.extend_timeout(5)

    threading.Thread(target=work, daemon=True).start()


@task(max_memory="64M")
def takes_memory(mebibytes):
    return len(bytearray(mebibytes * 2**20))


@task(max_memory="64M")
async def takes_memory_async(mebibytes):
    return len(bytearray(mebibytes * 2**20))


@task
def takes_memory_freely(mebibytes):
    return len(bytearray(mebibytes * 2**20))


@task
def burns(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@task(isolation="fork")
def wants_a_fresh_copy():
    return "fresh"


@task(isolation="process")
async def wants_a_process():
    return "new"
