"""A task's ``max_memory`` inside its process: one allocation beyond it raises MemoryError.

The worker watches the process and what it has started from outside, and kills it; but what fails here first
leaves the task a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

#: Stacks of threads and what allocators hold in reserve are no use of the task's.
SLACK_BYTES = 16 * 1024 * 1024


def capped(limit_bytes: int, function: Callable[..., Any], *args: Any) -> Any:
    """Call ``function`` while this process may map ``limit_bytes`` more than it has.

    Linux only: elsewhere the kernel does not count what is private.
    """
    if sys.platform != "linux":
        return function(*args)
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = _private_bytes(resource.getpagesize()) + limit_bytes + SLACK_BYTES
    # A limit that somebody else has set may be tighter.
    bounds = [wanted, *(bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY)]
    resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), hard))
    try:
        return function(*args)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _private_bytes(page_bytes: int) -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[5]) * page_bytes
