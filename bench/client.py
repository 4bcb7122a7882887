"""A process of the site that enqueues: ``python -m bench.client``. It takes orders on its standard input:

``for <seconds>``: enqueue as fast as it goes, one by one, and say how many there were.
``rest <count>``: enqueue so many tasks at once that rest in their slots, ahead of all others.
``single <count> <least> <most>``: so many times rest (seconds), then enqueue; say when and what.
"""

import json
import os
import random
import sys
import time

import django
from django.tasks import default_task_backend


def for_seconds(seconds: float) -> int:
    count, number = 0, time.time_ns()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        # Another client's numbers are others: its process is.
        tasks.client_call.enqueue(os.getpid(), number + count)
        count += 1
    return count


def rest(count: int) -> int:
    urgent, number = tasks.rest.using(priority=100), time.time_ns()
    return len(default_task_backend.bulk_enqueue([(urgent, (number + one,), {}) for one in range(count)]))


def single(count: int, least: float, most: float) -> list[tuple[int, int]]:
    """Nanoseconds since the epoch before the call, and the run."""
    enqueued = []
    for number in range(count):
        time.sleep(random.uniform(least, most))
        began = time.time_ns()
        enqueued.append((began, int(tasks.started_at.enqueue(number).id)))
    return enqueued


if __name__ == "__main__":
    django.setup()
    from bench import tasks

    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["for", seconds]:
                answer: object = for_seconds(float(seconds))
            case ["rest", count]:
                answer = rest(int(count))
            case ["single", count, least, most]:
                answer = single(int(count), float(least), float(most))
        print(json.dumps(answer), flush=True)
