"""Objects whose references nobody counts (CPython): counting writes, and a fork copies what is written.

Since 3.12 an object with a certain count is left alone by whoever takes or drops a reference, and is never
freed (PEP 683). The interpreter gives that count to what it can do nothing without. To a child, the code that
was there before its fork is such, too.
"""

from __future__ import annotations

import ctypes
import gc
import sys
import sysconfig
import types
from _thread import LockType, RLock
from importlib.machinery import ModuleSpec
from struct import Struct
from typing import Any, Final

#: Where the count is, and what it means, is the interpreter's own affair: those whose source has been read.
_KNOWN: Final = ((3, 12), (3, 13))
#: The half of the count that matters, at the object's address.
_Count: Final = ctypes.c_uint32
#: What a program consists of, beside its classes. Nothing that means something by its end, as a file or a
#: generator does, nor what may hold such a thing, as a list or an object of the site's.
_PARTS: Final = frozenset(
    {
        types.FunctionType,
        types.ModuleType,
        types.BuiltinFunctionType,
        types.MethodDescriptorType,
        types.ClassMethodDescriptorType,
        types.WrapperDescriptorType,
        types.GetSetDescriptorType,
        types.MemberDescriptorType,
        property,
        classmethod,
        staticmethod,
    }
)
#: What modules and classes hold as long as they live: their names with what these mean, their ancestors.
_HOLDERS: Final = frozenset({dict, tuple})
#: Of what these hold, the things that refer to nothing, and what an immortal module was found by.
_LEAVES: Final = frozenset({str, bytes, int, float, LockType, RLock, Struct, ModuleSpec})


def immortalize() -> int:
    """Have nobody count references to the code in memory: functions, classes, modules, constants.

    For a process whose children are to share its memory, once all is there that they need. What they drop of
    it later is kept. Returns how many counts it has set; 0 where the interpreter is another one: nothing has
    changed.
    """
    mark = _mark()
    if mark is None:
        return 0
    # By type: `isinstance` would make a lazy object of the site real.
    objects: list[Any] = [
        one for one in gc.get_objects() if type(one) in _PARTS or issubclass(type(one), type)
    ]
    held = _held(objects)
    # The collector does not know of code, which each call refers to, nor of most constants.
    codes = [one.__code__ for one in objects if type(one) is types.FunctionType]
    for code in codes:
        objects.append(code.co_consts)
        objects += code.co_consts
        codes += [one for one in code.co_consts if type(one) is types.CodeType]
    objects += codes + held
    if not objects:
        return 0
    # One array from the first to the last of them: to make a view of each takes longer.
    first, last = min(map(id, objects)), max(map(id, objects))
    size = ctypes.sizeof(_Count)
    counts = (_Count * ((last - first) // size + 1)).from_address(first)
    for one in objects:
        counts[(id(one) - first) // size] = mark
    return len(objects)


def _held(parts: list[Any]) -> list[Any]:
    """What lives as long as the parts do and is counted as often: modules' dictionaries, the values of names,
    the ancestors of classes, variables of outer functions."""
    closures = [one.__closure__ for one in parts if type(one) is types.FunctionType and one.__closure__]
    cells = [cell for closure in closures for cell in closure]
    spaces = [one for one in parts if type(one) is types.ModuleType or issubclass(type(one), type)]
    of_spaces = [one for space in spaces for one in gc.get_referents(space) if type(one) in _HOLDERS]
    holders = [*closures, *cells, *of_spaces]
    return holders + [one for holder in holders for one in gc.get_referents(holder) if type(one) in _LEAVES]


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
