"""This process's mappings of memory (Linux). A fork copies each of them, and an exit drops it."""

from __future__ import annotations

import ctypes
import itertools
import mmap
import sys
from typing import NamedTuple


class Mapping(NamedTuple):
    """One line of ``/proc/self/maps``."""

    start: int
    end: int
    #: As the kernel writes them: ``r-xp``.
    rights: str
    #: Where in its file it begins, in bytes.
    offset: int
    #: Of a file, or a word of the kernel's in brackets; empty where the memory has neither.
    name: str


def read() -> list[Mapping]:
    """All of them, in order of their addresses. Empty where the kernel does not tell."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    return [_parsed(line) for line in lines]


def _parsed(line: str) -> Mapping:
    addresses, rights, offset, _, _, *name = line.split(maxsplit=5)
    start, end = addresses.split("-")
    return Mapping(int(start, 16), int(end, 16), rights, int(offset, 16), name[0] if name else "")


def join() -> None:
    """Make one mapping of a library's code and of the constants beside it, where the linker has made three.

    Both may be read and run then, as in every library before linkers kept constants apart; neither may be
    written to. What the kernel refuses is left as it is.
    """
    if sys.platform != "linux":
        return
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for one, other in itertools.pairwise(read()):
        if _continues(one, other) and {one.rights, other.rights} == {"r--p", "r-xp"}:
            constants = one if one.rights == "r--p" else other
            protect(constants.start, constants.end - constants.start, mmap.PROT_READ | mmap.PROT_EXEC)


def _continues(one: Mapping, other: Mapping) -> bool:
    """Whether the second begins where the first ends, in memory and in the same file."""
    adjacent = one.end == other.start and one.offset + one.end - one.start == other.offset
    return adjacent and one.name == other.name and one.name.startswith("/")
