"""The benchmark: what this checkout does on this machine, printed and as JSON. ``python -m bench --help``.

``server`` knows databases, ``site`` a site with its worker, ``machine`` /proc, ``measure`` the measurements,
``report`` how they are told, ``plan`` what is measured and how often. A measurement is a function of a
``Site``: nothing in it knows which database or executor is behind.
"""
