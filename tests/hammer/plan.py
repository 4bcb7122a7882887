"""What the hammer enqueues: a seeded mix over 50 keys. Nothing here touches a database."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

#: 50 keys in all, few enough that every one of them is always wanted by several runs.
LOCKS = [f"l{number}" for number in range(20)]
CONCURRENCY = [f"c{number}" for number in range(18)]
RATES = [f"r{number}" for number in range(12)]
#: What a run is held back by, with its share of a hundred: letters of lock, concurrency, rate; p is the task
#: with a rate of its own, q the queue with one.
SHARES = {"l": 28, "c": 20, "lc": 16, "r": 10, "lr": 5, "cr": 5, "lcr": 4, "p": 3, "pl": 3, "q": 2, "qc": 4}
#: So seldom per enqueue of a chunk that a limit has a time in which it counts.
LIMIT_CHANGES = 0.15
QUEUE, COUNTED_QUEUE = "default", "mail"


@dataclass(frozen=True, slots=True)
class Rate:
    """Starts per second as the site's code or operator writes them, and how many at once."""

    per_second: float
    burst: int

    @property
    def exact(self) -> Fraction:
        return Fraction(str(self.per_second))


@dataclass(frozen=True, slots=True)
class Blow:
    """One run."""

    number: int
    task: str
    """``strike`` or ``paced``."""
    queue: str
    lock: str | None
    concurrency: str | None
    limit: int
    rate: str | None
    work_us: int
    fails: int
    """This many first attempts raise."""
    exits: int
    """This many first attempts end their process."""
    max_attempts: int

    @property
    def keys(self) -> list[str]:
        """Everything that the run is held back by, as the witness names it."""
        named = [("lock", self.lock), ("concurrency", self.concurrency), ("key", self.rate)]
        keys = [f"{kind}:{key}" for kind, key in named if key]
        keys += ["task:paced"] if self.task == "paced" else []
        return keys + (["queue:mail"] if self.queue == COUNTED_QUEUE else [])

    @property
    def claims(self) -> int:
        """How often it is claimed if nothing disturbs it."""
        return min(max(self.fails, self.exits) + 1, self.max_attempts)

    @property
    def ending(self) -> str:
        """The state that it ends in."""
        return "FAILED" if max(self.fails, self.exits) >= self.max_attempts else "SUCCESSFUL"


@dataclass(slots=True)
class Plan:
    """The runs of one seed. ``pace``: claims per second that the rates are made for, so that they bind for a
    while and do not decide how long it all takes. ``patience``: attempts that runs have beyond what the plan
    spends."""

    seed: int
    claims: int
    pace: float
    patience: int = 1
    rates: dict[str, Rate] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)
    blows: list[Blow] = field(default_factory=list)

    def __post_init__(self) -> None:
        chance = random.Random(f"rates {self.seed}")

        def rate(letter: str, keys: int) -> Rate:
            share = sum(part for kind, part in SHARES.items() if letter in kind) / 100 / keys
            return Rate(round(self.pace * share * chance.uniform(0.6, 2), 2), chance.randint(1, 10))

        self.rates = {f"key:{key}": rate("r", len(RATES)) for key in RATES}
        self.rates |= {"task:paced": rate("p", 1), "queue:mail": rate("q", 1)}
        self.limits = {key: chance.randint(1, 5) for key in CONCURRENCY}

    def chunks(self, size: int) -> Iterator[list[Blow]]:
        """The runs in the order of their enqueues, until they need so many claims. Between two chunks a limit
        may change; within one, each key has one."""
        chance = random.Random(self.seed)
        planned = 0
        while planned < self.claims:
            if chance.random() < LIMIT_CHANGES:
                self.limits[chance.choice(CONCURRENCY)] = chance.randint(1, 5)
            chunk: list[Blow] = []
            while len(chunk) < size and planned < self.claims:
                chunk.append(self._blow(chance))
                self.blows.append(chunk[-1])
                planned += chunk[-1].claims
            yield chunk

    def _blow(self, chance: random.Random) -> Blow:
        kind = chance.choices(list(SHARES), list(SHARES.values()))[0]
        concurrency = chance.choice(CONCURRENCY) if "c" in kind else None
        # Mostly no longer than a claim takes, so that the claims decide; some long enough to be run into.
        work_us = chance.choices([0, chance.randint(1, 500), chance.randint(1, 8000)], [3, 4, 1])[0]
        fate = chance.random()
        fails, exits, max_attempts = 0, 0, 2 + self.patience
        if fate < 0.02:
            fails, max_attempts = 2, 2
        elif fate < 0.07:
            fails = 1
        elif fate < 0.075:
            exits = 1
        return Blow(
            number=len(self.blows),
            task="paced" if "p" in kind else "strike",
            queue=COUNTED_QUEUE if "q" in kind else QUEUE,
            lock=chance.choice(LOCKS) if "l" in kind else None,
            concurrency=concurrency,
            limit=self.limits[concurrency] if concurrency else 0,
            rate=chance.choice(RATES) if "r" in kind else None,
            work_us=work_us,
            fails=fails,
            exits=exits,
            max_attempts=max_attempts,
        )
