"""The hammer: real workers, hot keys, and witnesses that the tasks themselves leave.

``python -m tests.hammer --database postgres --seed 1 --claims 100000`` (or ``make hammer ARGS=...``) enqueues
a seeded mix of runs with locks, limits and rates, lets workers drain it, and holds what the tasks have
witnessed against the promises: one run per lock, no more runs per key than its limit, no more starts in any
window than ``burst + rate x w``.

plan.py says what is enqueued, tasks.py leaves the witness, witness.py reads it, checks.py judges it, drive.py
does it all on one site.
"""
