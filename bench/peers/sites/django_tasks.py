"""Tasks of Django's own framework, for every peer that is a backend of it."""

from django.tasks import task

from bench.peers import work


@task
def noop(number):
    return work.noop(number)


@task
def rest(number):
    return work.rest(number)


@task
def cpu(number):
    return work.cpu(number)


@task
def orm(number):
    return work.orm(number)


@task
async def async_rest(number):
    return await work.async_rest(number)


TASKS = {"noop": noop, "rest": rest, "cpu": cpu, "orm": orm, "async_rest": async_rest}


def enqueue(kind, number):
    TASKS[kind].enqueue(number)
