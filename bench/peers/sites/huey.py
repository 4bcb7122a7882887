"""Huey, by its Django integration. It has no bulk enqueue."""

from huey.contrib.djhuey import HUEY, db_task, task

from bench.peers import work

TASKS = {
    kind: (db_task if kind == "orm" else task)(name=f"bench_{kind}")(function)
    for kind, function in work.SYNC.items()
}


def enqueue(kind, number):
    TASKS[kind](number)


def bulk(kind, numbers):
    for number in numbers:
        TASKS[kind](number)


def left(total):
    return max(HUEY.pending_count(), total - HUEY.result_count())
