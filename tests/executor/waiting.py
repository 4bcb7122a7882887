"""Conditions that no event announces."""

import time
from pathlib import Path

WAIT_SECONDS = 30


def wait_until(condition, what):
    """Poll ``condition`` until it holds."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s until {what}"
        time.sleep(0.005)


def until_it_says(witness, word):
    """Wait until a task has written ``word`` to the file ``witness``."""
    wait_until(
        lambda: witness.exists() and word in witness.read_text().split(), f"the task has said {word!r}"
    )


def gone(pid):
    """Whether no live process has that id; a zombie does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
