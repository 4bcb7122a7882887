"""Functions and classes that no process counts the uses of: what forks share of them stays shared.

CPython counts the references to each object in the object itself, so a child that does no more than call a
function copies the page where that is. Immortal objects (PEP 683) are not counted. Python makes its own
constants immortal and has no function for others; their count is set to that of ``None`` here.

Only definitions, which live as long as the process: nothing that is waited for to be finalised.
"""

from __future__ import annotations

import ctypes
import gc
import struct
import sys
import sysconfig
import types
from collections.abc import Iterator

_DEFINITIONS = (
    type,
    types.BuiltinFunctionType,
    types.FunctionType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.ModuleType,
    types.WrapperDescriptorType,
    classmethod,
    property,
    staticmethod,
)


def make_immortal() -> None:
    """Make all definitions of this process immortal, where the interpreter is known to count like that."""
    if not _counts_as_expected():
        return
    immortal = ctypes.c_uint32.from_address(id(None)).value
    for definition in _definitions():
        ctypes.c_uint32.from_address(id(definition)).value = immortal


def _counts_as_expected() -> bool:
    """Whether an object begins with its count, as in CPython 3.12 to 3.14 on 64 bits and with the GIL."""
    if (
        sys.implementation.name != "cpython"
        or not (3, 12) <= sys.version_info < (3, 15)
        or sys.byteorder != "little"
        or struct.calcsize("P") != 8
        or sysconfig.get_config_var("Py_GIL_DISABLED")
        or hasattr(sys, "gettotalrefcount")
    ):
        return False
    trial = object()
    names = [trial] * 1000
    counted = ctypes.c_uint32.from_address(id(trial)).value
    return len(names) < counted < len(names) + 10 and sys.getrefcount(trial) - counted in (0, 1)


def _definitions() -> Iterator[object]:
    for found in gc.get_objects():
        # By type: `isinstance` would ask lazy objects of the site for their class.
        if issubclass(type(found), _DEFINITIONS):
            yield found
        if type(found) is types.FunctionType:
            yield from _code(found.__code__)


def _code(code: types.CodeType) -> Iterator[object]:
    yield code
    for constant in code.co_consts:
        if type(constant) is types.CodeType:
            yield from _code(constant)
