"""Processes that are started here and ended here, each by its id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from bench.machine import FamilyCpu, below, processes
from bench.site import BenchError, until

STOP_SECONDS = 20


class Family:
    """Some processes and all that they start. What they say goes to one file."""

    def __init__(
        self, commands: Sequence[Sequence[str]], environment: Mapping[str, str], folder: Path, log: Path
    ) -> None:
        self._log = log
        self._heads: list[subprocess.Popen[bytes]] = []
        try:
            with log.open("ab") as said:
                for command in commands:
                    # A session of its own: Ctrl-C is for the measurement, which then ends them in order.
                    head = subprocess.Popen(
                        list(command),
                        env=dict(environment),
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        stdout=said,
                        stderr=said,
                        start_new_session=True,
                    )
                    self._heads.append(head)
        except BaseException:
            self.stop()
            raise

    @property
    def heads(self) -> list[int]:
        return [head.pid for head in self._heads]

    def members(self) -> set[int]:
        """All that live, heads included."""
        everyone = processes()
        return {one for pid in self.heads for one in {pid} | below(pid, everyone)}

    def cpu_seconds(self) -> float:
        return sum(FamilyCpu.of(pid).total for pid in self.heads)

    def head_cpu_seconds(self) -> float:
        """Of the heads without what is below them."""
        return sum(FamilyCpu.of(pid).head for pid in self.heads)

    def scheduled_seconds(self) -> float:
        return scheduled_seconds(self.members())

    def is_alive(self) -> bool:
        return all(head.poll() is None for head in self._heads)

    def said(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def stop(self) -> bool:
        """SIGTERM to the heads, time to end, then SIGKILL to whoever is left. Whether they ended in time."""
        members = self.members()
        for head in self._heads:
            if head.poll() is None:
                head.terminate()
        ended = until(lambda: not self._living(members), seconds=STOP_SECONDS, pause=0.05)
        for pid in self._living(members | self.members()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for head in self._heads:
            head.wait()
        return ended

    def _living(self, pids: set[int]) -> list[int]:
        for head in self._heads:
            head.poll()
        return [pid for pid in pids if _lives(pid)]


def _lives(pid: int) -> bool:
    """Zombies of others do not count: they are their parent's to bury."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def scheduled_seconds(pids: Iterable[int]) -> float:
    """CPU of those that live, in the scheduler's nanoseconds: for what is less than a tick."""
    total = 0
    for pid in pids:
        for stat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):
                total += int(stat.read_text().split()[0])
    return total / 1e9


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_open(port: int, family: Family, seconds: float, answers: Callable[[], bool]) -> None:
    """Until a server takes connections and ``answers``. Raises BenchError with what it said."""

    def is_up() -> bool:
        if not family.is_alive():
            raise BenchError(f"a server has ended:\n{family.said()}")
        try:
            return answers()
        except OSError:
            return False

    began = time.monotonic()
    if not until(is_up, seconds=seconds, pause=0.05):
        spent = time.monotonic() - began
        raise BenchError(f"nothing answers at port {port} after {spent:.0f} s:\n{family.said()}")
