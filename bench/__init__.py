"""The benchmark: what this checkout does on this machine, printed and as JSON. ``python -m bench --help``.

``server`` knows databases, ``site`` a site with its worker and its clients (``client``), ``machine`` /proc.
``plan`` is the command line and ``drain``: ``measure`` its measurements, ``report`` how they are told.
``claims`` is what a claim costs among ``backlogs``; ``crates/reproq-store/examples/rounds.rs`` makes them.
``wakes`` is ``enqueues`` and ``starts``: what NOTIFY costs, and how soon runs start without it, with
``pooler`` in between. A measurement knows neither which database nor which executor is behind a site.
``peers`` compares with other task queues; its command line is its own.

    make bench                              # drain, as in the README
    make bench ARGS="claims --database postgres"
    make bench ARGS="claims --only rate"    # only those cases, and what they are compared with
    make bench ARGS="enqueues"
    make bench ARGS="starts --quick --json starts.json"
"""
