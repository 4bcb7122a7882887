"""Objects whose references nobody counts (CPython): counting writes, and a fork copies what is written.

Since 3.12 an object with a certain count is left alone by whoever takes or drops a reference, and is never
freed (PEP 683). The interpreter gives that count to what it can do nothing without. To a child, all that was
there before its fork is such: it can drop its references to it, but the memory stays its zygote's.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import sysconfig
from types import FunctionType
from typing import Any, Final

#: Where the count is, and what it means, is the interpreter's own affair: those whose source has been read.
_KNOWN: Final = ((3, 12), (3, 13))
#: The half of the count that matters, at the object's address.
_Count: Final = ctypes.c_uint32


def immortalize() -> int:
    """Have nobody count references to what is in memory now; returns to how many objects.

    For a process whose children are to share its memory, once all is there that they need. What is dropped
    later is kept, with all that it refers to. 0 where the interpreter is another one: nothing has changed.
    """
    mark = _mark()
    if mark is None:
        return 0
    objects: list[Any] = gc.get_objects()
    # The collector does not know of code, which each call refers to, nor of most constants.
    codes = [one.__code__ for one in objects if type(one) is FunctionType]
    objects += codes
    for code in codes:
        objects.append(code.co_consts)
        objects += code.co_consts
    addresses = list(map(id, objects))
    # One array from the first to the last of them: an own view of each object would take four times as long.
    first = min(addresses)
    size = ctypes.sizeof(_Count)
    counts = (_Count * ((max(addresses) - first) // size + 1)).from_address(first)
    for address in addresses:
        counts[(address - first) // size] = mark
    return len(addresses)


def _mark() -> int | None:
    """The count of an object that is left alone; None where counts are not found to be what we know."""
    if (
        sys.implementation.name != "cpython"
        or sys.version_info[:2] not in _KNOWN
        or sys.maxsize < 2**32
        or sys.byteorder != "little"
        or sysconfig.get_config_var("Py_GIL_DISABLED")
    ):
        return None
    probe, mark = object(), _counted(None)
    before = _counted(probe)
    more = [probe, probe, None]
    if _counted(probe) != before + 2 or _counted(None) != mark:
        return None
    more.clear()
    return mark


def _counted(one: object) -> int:
    return _Count.from_address(id(one)).value
