"""The Python side of one attempt: from the worker's frame to the envelope that ends it.

``frames`` and ``streams`` know bytes, ``zygote`` and ``child`` know processes, ``site`` knows how a site is
loaded, and ``run`` is the only place that calls a task. Nothing here writes to ``task_runs``: the worker owns
that row.
"""
