"""What a process asks of the Linux kernel and Python has no function for. Elsewhere it is not asked."""

from __future__ import annotations

import ctypes
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = int(signal.SIGKILL)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies."""
    if _prctl is not None and _prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0) != 0:
        print("reproq: the kernel refuses prctl(PR_SET_PDEATHSIG)", file=sys.stderr)


def adopt_orphans() -> None:
    """Become the parent of whatever a task's processes leave behind, daemons included."""
    if _prctl is not None:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _find() -> ctypes._NamedFuncPointer | None:
    if sys.platform != "linux":
        return None
    # The plainest way to call it: to let other threads run meanwhile, or to keep the error's number, takes
    # longer than the call, and more of the memory that each child would copy.
    function = ctypes.PyDLL(None).prctl
    function.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    function.restype = ctypes.c_int
    return function


#: Looked up by the zygote, for all that it forks: to do so takes longer than a short task.
_prctl = _find()
