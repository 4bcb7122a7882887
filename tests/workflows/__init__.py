"""Holds workflows to their promise: what waits starts once, after all that it waits for, whoever is killed;
and all of it ends as its policy says.

``python -m tests.workflows --database postgres`` runs 1,000 chords of 50 members and 200 chains of 20 while
a worker is killed every two seconds.
"""
