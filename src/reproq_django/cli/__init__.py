"""The subcommands of ``manage.py reproq``: each module has ``HELP``, ``add_arguments`` and ``run``.

``run(command, options)`` prints through the command and returns the exit code. A module with ``PASSES_FLAGS``
gives the flags that it does not know to the worker binary, so that they are declared in one place, the
binary.
"""
