"""The zygote's memory in huge pages (Linux): a fork copies an entry for each page, and an exit drops it."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator

_MADV_COLLAPSE = 25
_HUGE_BYTES = 2 * 1024 * 1024


def collapse() -> None:
    """Put what this process has allocated so far into huge pages, where the kernel has any.

    It copies the memory, so it is for once, when all is there that forks will share. What cannot be had is
    left as it is.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for start, length in _own_memory():
        advise(start, length, _MADV_COLLAPSE)


def _own_memory() -> Iterator[tuple[int, int]]:
    """Start and length of what may be made of whole huge pages: private, writable, of no file."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        addresses, rights, _, _, _, *name = line.split(maxsplit=5)
        if not rights.startswith("rw-p") or name not in ([], ["[heap]"]):
            continue
        start, end = (int(address, 16) for address in addresses.split("-"))
        start = -(-start // _HUGE_BYTES) * _HUGE_BYTES
        end = end // _HUGE_BYTES * _HUGE_BYTES
        if end > start:
            yield start, end - start
