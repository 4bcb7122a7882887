"""One task of each kind that Reproq runs."""

import asyncio
import os
import time
from pathlib import Path

from django.contrib.auth.models import User

from reproq_django import task


@task
def count_users(prefix: str) -> int:
    """A plain task that asks the database."""
    return User.objects.filter(username__startswith=prefix).count()


@task
async def fetch_prices(symbols: list[str]) -> dict[str, int]:
    """A coroutine; its waiting happens all at once."""

    async def price(symbol):
        await asyncio.sleep(0.05)
        return symbol, len(symbol) * 10

    return dict(await asyncio.gather(*(price(symbol) for symbol in symbols)))


@task(takes_context=True)
def import_rows(context, rows: int) -> str:
    """Tells others how far it is."""
    for done in range(1, rows + 1):
        context.metadata["progress"] = f"{done}/{rows}"
    context.save_metadata()
    return f"attempt {context.attempt}"


@task(max_attempts=3, backoff=0.2)
def flaky(marker: str) -> str:
    """Fails the first time and succeeds the second; ``marker`` is a file that remembers."""
    path = Path(marker)
    if not path.exists():
        path.touch()
        raise ConnectionError("the payment service does not answer")
    return "second try"


@task(max_attempts=1)
def hopeless() -> None:
    """Fails for good."""
    raise ValueError("this order has no address")


@task
def on_time() -> float:
    """Returns when it started, seconds since 1970."""
    return time.time()


@task
def exclusive(witness: str) -> str:
    """Runs under a lock_key: two at once would both see the other's file."""
    try:
        descriptor = os.open(witness, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        return "overlapped"
    os.close(descriptor)
    time.sleep(0.1)
    os.unlink(witness)
    return "alone"


@task
def square(number: int) -> int:
    """A member of a chord."""
    return number * number


@task
def add_up(numbers: list[int]) -> int:
    """A chord's callback: gets what its members have returned, in order."""
    return sum(numbers)


@task
def tick(number: int, witness: str) -> None:
    """Leaves a line, so that lost and repeated runs can be counted."""
    with open(witness, "a") as file:
        file.write(f"{number}\n")
