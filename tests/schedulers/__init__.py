"""Holds schedulers to their promise: each tick of each schedule once, whoever of them is killed or stopped,
and while the database restarts.

``python -m tests.schedulers --database postgres --seconds 120`` runs 200 schedules that fire every second
under three schedulers. Ticks are judged by the runs that they have enqueued.
"""
