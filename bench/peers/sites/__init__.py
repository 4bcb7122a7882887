"""The peers' halves that live in their site: tasks declared their way, and how to enqueue them.

Each module has ``enqueue(kind, number)``, ``bulk(kind, numbers)`` and ``left(total)``: how many of
``total`` enqueued ones are not recorded as done. ``prepare()`` may make what ``migrate`` does not. With
``ASYNC = True`` these three are coroutines, after ``opened()``.
"""
