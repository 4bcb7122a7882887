"""What tasks have left behind, see ``work.mark``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.peers.work import RECORD


@dataclass(frozen=True, slots=True)
class Found:
    """Of the numbers that were enqueued."""

    lost: int
    repeated: int


class Witness:
    """A file of records, in the order in which tasks began, nearly."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")

    def count(self) -> int:
        return self.path.stat().st_size // RECORD.size

    def starts(self) -> dict[int, int]:
        """When each number began first, nanoseconds since the epoch."""
        found: dict[int, int] = {}
        for number, began in self._records():
            found.setdefault(number, began)
        return found

    def check(self, numbers: Iterable[int]) -> Found:
        times = Counter(number for number, _ in self._records())
        wanted = set(numbers)
        lost = sum(1 for number in wanted if not times[number])
        return Found(lost, sum(1 for number in times if times[number] > 1))

    def _records(self) -> list[tuple[int, int]]:
        return list(RECORD.iter_unpack(self.path.read_bytes()))
