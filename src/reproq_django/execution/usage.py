"""What an attempt uses of its machine: processor time, and the peak of its process's memory."""

from __future__ import annotations

import contextlib
import sys
from types import ModuleType

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows
    resource = None

#: Asks the kernel to forget the peak so far (Linux).
_FORGET_PEAK = b"5"
#: An attempt that has raised the peak by less, or worked for less, leaves the next one no wrong figure.
_WORTHWHILE_KIB = 1024
_WORTHWHILE_SECONDS = 0.002


class Meter:
    """Reads both, attempt by attempt. What the process does between two attempts counts for the later one.

    Args:
        once: the process has just been forked, for one attempt: it has no earlier peak to forget.
    """

    def __init__(self, *, once: bool = False) -> None:
        self._once = once
        self._seconds = 0.0
        self._peak_kib = 0
        self.take()

    def take(self) -> str | None:
        """The usage since the last call, as the JSON text of an envelope; None where nobody counts."""
        if resource is None:
            return None
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = used.ru_utime + used.ru_stime
        spent = seconds - self._seconds
        peak = used.ru_maxrss
        if sys.platform == "darwin":
            peak //= 1024
        worthwhile = peak - self._peak_kib > _WORTHWHILE_KIB or spent > _WORTHWHILE_SECONDS
        if worthwhile and not self._once:
            _forget_peak()
        self._seconds = seconds
        self._peak_kib = peak
        return f'{{"cpu_ms":{spent * 1000:.3f},"max_rss_kib":{peak}}}'


def _forget_peak() -> None:
    # Opened each time: a descriptor that is kept could be closed by a task, and its number be another file's.
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "wb", buffering=0) as file:
        file.write(_FORGET_PEAK)
