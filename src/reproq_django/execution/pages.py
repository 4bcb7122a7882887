"""The zygote's memory in huge pages (Linux): a fork copies an entry for each page, and an exit drops it."""

from __future__ import annotations

import ctypes
import itertools
import sys
from collections.abc import Iterator

from reproq_django.execution import mappings

_MADV_COLLAPSE = 25
_HUGE_BYTES = 2 * 1024 * 1024
#: What Python's allocator asks the kernel for at a time, from there gives out at a time, and gives nothing
#: larger of.
_ARENA_BYTES = 1024 * 1024
_POOL_BYTES = 16 * 1024
_BLOCK_BYTES = 512
#: Of the C library's heap: anything larger may be mapped apart from it.
_PADDING_BYTES = 64 * 1024
#: A large site with its framework; what is needed beyond it comes as it would have.
_RESERVED_BYTES = 32 * 1024 * 1024
#: By then the gaps between what is mapped already are full.
_TRIAL_BYTES = 8 * 1024 * 1024


def reserve() -> list[bytes]:
    """Have Python's allocator lay out its memory in one piece, before the site is imported.

    It takes memory arena by arena, the kernel maps libraries between them, and an arena is too small for a
    huge page. One that holds an object is kept: as long as the objects live that this returns, the arenas do,
    and what is imported fills them. After that, free the objects, and with them what nobody has needed.
    """
    if sys.platform != "linux":
        return []
    try:
        return _laid_out()
    except MemoryError:
        # A site within a tight bound needs it more than we do.
        return []


def _laid_out() -> list[bytes]:
    # The list first: growing it would leave gaps, for arenas to land in.
    blocks = [b""] * (_RESERVED_BYTES // _BLOCK_BYTES)
    size = _BLOCK_BYTES - sys.getsizeof(b"")
    firsts, last = [], 0
    for index in range(len(blocks)):
        block = blocks[index] = bytes(size)
        # An arena is filled upwards; the next one is elsewhere.
        if not 0 < id(block) - last < 2 * _POOL_BYTES:
            firsts.append(block)
        last = id(block)
        if index == _TRIAL_BYTES // _BLOCK_BYTES and not _adjacent(firsts):
            # Another allocator, of which nothing is to be had.
            return []
    return _adjacent(firsts)


def _adjacent(firsts: list[bytes]) -> list[bytes]:
    # Each lies below the one before, but for those that have landed in a gap: these are given back. One
    # object is kept in each, as the allocator prefers the fuller ones.
    return [one for one, below in itertools.pairwise(firsts) if id(one) - id(below) == _ARENA_BYTES]


def collapse() -> None:
    """Put what this process has allocated so far into huge pages, where the kernel has any.

    It copies the memory, so it is for once, when all is there that forks will share. What cannot be had is
    left as it is.
    """
    if sys.platform != "linux":
        return
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    # Meanwhile the C library's heap goes on, so that the last page of what is there is a whole one.
    above = [bytes(_PADDING_BYTES) for _ in range(_HUGE_BYTES // _PADDING_BYTES)]
    for start, length in _own_memory():
        advise(start, length, _MADV_COLLAPSE)
    del above


def _own_memory() -> Iterator[tuple[int, int]]:
    """Start and length of what may be made of whole huge pages: private, writable, of no file."""
    for one in mappings.read():
        if one.rights != "rw-p" or one.name not in ("", "[heap]"):
            continue
        start = -(-one.start // _HUGE_BYTES) * _HUGE_BYTES
        end = one.end // _HUGE_BYTES * _HUGE_BYTES
        if end > start:
            yield start, end - start
