"""Side by side with what else a Django team would pick: ``make bench-peers``, ``make bench-quick``.

Each peer is its release from PyPI, in a virtual environment of its own below ``.cache/peers``, on the same
Django site with the same tasks, with its broker from Debian's packages, started and ended here on loopback.

``plan`` is the command line: which peers, how often, how much. ``turn`` is one repetition of one peer.
``peer`` is what a peer has to say about itself; ``catalogue`` lists them, one module each, whose docstring
says how it is configured and why. ``brokers`` and ``rabbit`` start servers, ``environment`` installs,
``worker`` is a running peer, ``client`` a process of its site that enqueues, ``witness`` knows which tasks
really ran. ``growth`` is how ours does as things grow, ``backlog`` how others do among a million; ``floors``
is what cannot be undercut here, by ``bare`` processes and by parts of ours ``alone``. ``targets``,
``figures``, ``tables``, ``explained`` and ``plots`` tell it.

Within a peer's environment only ``client``, ``settings``, ``work``, ``notes`` and ``sites`` are imported:
they know nothing of the rest.
"""
