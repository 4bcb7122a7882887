"""This process's mappings of memory (Linux). A fork copies each of them, and an exit drops it."""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import NamedTuple

_READ, _EXECUTE = 1, 4


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
            lines = file.read().split("\n")
    except OSError:
        return []
    return [_parsed(line) for line in lines if line]


def _parsed(line: str) -> Mapping:
    addresses, rights, offset, _, _, *name = line.split(maxsplit=5)
    start, end = addresses.split("-")
    return Mapping(int(start, 16), int(end, 16), rights, int(offset, 16), name[0] if name else "")


def join() -> None:
    """Make one mapping of a library's code and of the constants beside it, where the linker has made three.

    Both may be read and run then, as in every library before linkers kept constants apart; neither may be
    written to. What the kernel refuses is left as it is. x86-64 only: elsewhere linkers do not keep them
    apart, or code has marks that constants have not.
    """
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return
    protect = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    found = read()
    for before, code, after, last in zip(found, found[1:], found[2:], found[3:], strict=False):
        if code.rights != "r-xp":
            continue
        if _continues(before, code):
            protect(before.start, before.end - before.start, _READ | _EXECUTE)
        # What the linker itself has written (RELRO) looks the same, and is the last of them.
        if _continues(code, after) and (last.name, last.rights) == (code.name, "r--p"):
            protect(after.start, after.end - after.start, _READ | _EXECUTE)


def _continues(one: Mapping, other: Mapping) -> bool:
    """Whether they are code and constants of a file, one where the other ends, in the file and in memory."""
    adjacent = one.end == other.start and one.offset + one.end - one.start == other.offset
    return (
        adjacent
        and {one.rights, other.rights} == {"r--p", "r-xp"}
        and one.name == other.name
        and one.name.startswith("/")
    )
