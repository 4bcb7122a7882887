"""What is enqueued: seeded chords and chains, some with a member that fails."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.workflows import tasks

from reproq_django.workflows import chain, chord, result_of

#: Of a hundred: what becomes of a chord or chain with a culprit, and how many have none.
SHARES = {"sound": 85, "fail": 5, "continue": 5, "on_failure": 5}


@dataclass(frozen=True, slots=True)
class Shape:
    """One workflow of the plan."""

    number: int
    kind: str
    """``chord`` or ``chain``."""
    members: int
    variant: str
    """``sound``, or what happens when the member ``culprit`` fails."""
    culprit: int | None

    @property
    def policy(self) -> str:
        return "continue" if self.variant == "continue" else "fail"

    @property
    def expected(self) -> Any:
        """The return value of the callback, or of the last link; None: it never runs."""
        if self.variant in ("fail", "on_failure"):
            return None
        if self.kind == "chord":
            return [None if number == self.culprit else number for number in range(self.members)]
        # Behind a link that has failed the list begins anew.
        first = 0 if self.culprit is None else self.culprit + 1
        return list(range(first, self.members)) or None

    def enqueue(self) -> Enqueued:
        mourner = (tasks.mourn, (self.number,)) if self.variant == "on_failure" else None
        if self.kind == "chord":
            members = [(tasks.member, (number, number == self.culprit)) for number in range(self.members)]
            last = (tasks.callback, (result_of(),))
            results, ending = chord(
                *members, callback=last, policy=self.policy, on_failure=mourner
            ).enqueue()  # fmt: skip
            return Enqueued(self, [result.result_id for result in results], ending.result_id)
        links = [
            (tasks.link, (number, result_of() if number else None, number == self.culprit))
            for number in range(self.members)
        ]
        results = chain(*links, policy=self.policy, on_failure=mourner).enqueue()
        ids = [result.result_id for result in results]
        return Enqueued(self, ids[:-1], ids[-1])


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A workflow that is in the database."""

    shape: Shape
    members: list[int]
    """Runs that the last one waits for, in order."""
    last: int
    """The callback, or the last link."""


def shapes(seed: int, chords: int, width: int, chains: int, length: int) -> Iterator[Shape]:
    """All workflows of a seed, mixed."""
    chance = random.Random(seed)
    kinds = ["chord"] * chords + ["chain"] * chains
    chance.shuffle(kinds)
    for number, kind in enumerate(kinds):
        variant = chance.choices(list(SHARES), list(SHARES.values()))[0]
        # The last link of a chain is what its outcome is read from, so it is never the culprit.
        members = width if kind == "chord" else length
        places = members if kind == "chord" else members - 1
        culprit = None if variant == "sound" else chance.randrange(places)
        yield Shape(number, kind, members, variant, culprit)
