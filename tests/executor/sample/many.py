"""More coroutine tasks than fit into one packet."""

from reproq_django import task


def _make(number):
    async def function():
        return number

    function.__name__ = function.__qualname__ = f"a_task_with_a_name_of_some_length_{number}"
    return task(function)


globals().update({made.name: made for made in map(_make, range(2000))})
