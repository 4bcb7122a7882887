"""Holds the evidence of one seed against the promises."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.hammer.checks import Hold, Limits, Violation, beyond_rate, crowded, most
from tests.hammer.drive import Evidence
from tests.hammer.witness import Attempt

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: How exactly a moment that the database has recorded is known. SQLite's are whole milliseconds.
POSTGRES_SLACK_US, SQLITE_SLACK_US = 10, 1000
#: A claim's snapshot is a little older than the moment that it is recorded with.
LIMIT_SLACK_NS = 1_000_000_000
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one seed came to."""

    seed: int
    database: str
    runs: int
    claims: int
    witnessed: int
    seconds: float
    most_per_lock: int
    limit_changes: int
    bound_rates: int
    """Rates that have held runs back."""
    outcomes: dict[str, int]
    violations: list[Violation]

    @property
    def line(self) -> str:
        outcomes = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return (
            f"{self.database} seed {self.seed}: {self.claims} claims of {self.runs} runs "
            f"in {self.seconds:.1f} s ({self.claims / self.seconds:.0f}/s), "
            f"at most {self.most_per_lock} per lock, {self.limit_changes} limits changed, "
            f"{self.bound_rates} rates bound; {self.witnessed} witnessed: {outcomes}; "
            f"{len(self.violations)} violations"
        )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(evidence: Evidence) -> Verdict:
    """All checks."""
    held: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in evidence.attempts:
        for key in attempt.keys:
            held[key].append(attempt)
    violations = [
        *_locks(evidence, held),
        *_limits(evidence, held),
        *_rates(evidence, held),
        *_endings(evidence),
        *_witnesses(evidence),
    ]
    locks = [most(_holds(attempts, _begun, 1)) for key, attempts in held.items() if key.startswith("lock:")]
    return Verdict(
        seed=evidence.plan.seed,
        database="postgres" if evidence.is_postgres else "sqlite",
        runs=len(evidence.runs),
        claims=sum(row["epoch"] for row in evidence.runs.values()),
        witnessed=len(evidence.attempts),
        seconds=evidence.course.seconds,
        most_per_lock=max(locks, default=0),
        limit_changes=sum(len(words) - 1 for words in _stated(evidence).values()),
        bound_rates=sum(_is_bound(evidence, name, held[name]) for name in evidence.plan.rates),
        outcomes=dict(Counter(attempt.outcome for attempt in evidence.attempts)),
        violations=violations,
    )


def _slack_us(evidence: Evidence) -> int:
    return POSTGRES_SLACK_US if evidence.is_postgres else SQLITE_SLACK_US


def _begun(attempt: Attempt) -> int:
    return attempt.begin


def _claimed(slack_ns: int) -> Callable[[Attempt], int]:
    """A key is taken from the claim on, not only while the task works: the longer, stricter interval."""
    return lambda attempt: min(attempt.claimed + slack_ns, attempt.begin)


def _holds(attempts: Iterable[Attempt], start: Callable[[Attempt], int], allowed: int) -> list[Hold]:
    return [Hold(start(attempt), attempt.end, allowed, attempt) for attempt in attempts]


def _locks(evidence: Evidence, held: dict[str, list[Attempt]]) -> Iterator[Violation]:
    claimed = _claimed(_slack_us(evidence) * 1000)
    for key in sorted(key for key in held if key.startswith("lock:")):
        yield from crowded("lock, while tasks worked", key, _holds(held[key], _begun, 1))
        yield from crowded("lock, since the claims", key, _holds(held[key], claimed, 1))


def _limits(evidence: Evidence, held: dict[str, list[Attempt]]) -> Iterator[Violation]:
    claimed = _claimed(_slack_us(evidence) * 1000)
    limits = _stated_limits(evidence)
    for key in sorted(key for key in held if key.startswith("concurrency:")):
        for rule, start in (("limit, while tasks worked", _begun), ("limit, since the claims", claimed)):
            yield from crowded(
                rule,
                key,
                [
                    Hold(begin, one.end, limits[key].allowed(one.claimed, begin), one)
                    for one in held[key]
                    for begin in [start(one)]
                ],
            )


def _stated(evidence: Evidence) -> dict[str, list[int]]:
    """The limits of each key in the order in which they were stated, without repetitions."""
    found: dict[str, list[int]] = {}
    for _, _, limits in evidence.course.statements:
        for key, limit in limits.items():
            words = found.setdefault(f"concurrency:{key}", [])
            if words[-1:] != [limit]:
                words.append(limit)
    return found


def _stated_limits(evidence: Evidence) -> dict[str, Limits]:
    found: dict[str, Limits] = defaultdict(lambda: Limits(LIMIT_SLACK_NS))
    for before, after, limits in evidence.course.statements:
        for key, limit in limits.items():
            found[f"concurrency:{key}"].state(before, after, limit)
    return found


def _rates(evidence: Evidence, held: dict[str, list[Attempt]]) -> Iterator[Violation]:
    for name, rate in evidence.plan.rates.items():
        per_us = rate.exact / 1_000_000
        claims = [(attempt.claimed_us, attempt) for attempt in held[name]]
        yield from beyond_rate("rate, by the claims", name, claims, per_us, rate.burst, _slack_us(evidence))
        delay = max((attempt.begin - attempt.claimed for attempt in held[name]), default=0)
        begins = [(attempt.begin // 1000, attempt) for attempt in held[name]]
        yield from beyond_rate(
            "rate, by the tasks' own clocks", name, begins, per_us, rate.burst, math.ceil(delay / 1000) + 1
        )


def _is_bound(evidence: Evidence, name: str, attempts: list[Attempt]) -> bool:
    """Whether a row of starts longer than a burst took over 90% of what the rate gives in its time."""
    rate = evidence.plan.rates[name]
    times = sorted(attempt.claimed_us / 1e6 for attempt in attempts)
    row = rate.burst + 5
    spans = (last - first for first, last in zip(times, times[row - 1 :], strict=False))
    return any(row > 0.9 * (rate.burst + rate.per_second * span) for span in spans)


def _endings(evidence: Evidence) -> Iterator[Violation]:
    rows, plan = evidence.runs, evidence.plan
    if evidence.course.stuck:
        waiting = [
            f"run {number}: {row}" for number, row in rows.items() if row["status"] in ("READY", "RUNNING")
        ]
        yield Violation(
            "end", "", f"nothing is claimed and {len(waiting)} runs are left", tuple(waiting[:SHOWN])
        )
    if rows.keys() != {blow.number for blow in plan.blows}:
        yield Violation("end", "", f"{len(plan.blows)} runs were enqueued, {len(rows)} are there")
    for blow in plan.blows:
        row = rows.get(blow.number, {})
        # What a kill takes along may end otherwise, but it ends.
        expected = {"SUCCESSFUL", "FAILED"} if evidence.killed else {blow.ending}
        if row.get("status") not in expected:
            yield Violation("end", f"run {blow.number}", f"expected {expected}, {blow}", (str(row),))
        elif row["slot_no"] is not None or row["leased_by"] is not None:
            yield Violation("end", f"run {blow.number}", "it has ended and holds its keys", (str(row),))
    claims = sum(row["epoch"] for row in rows.values())
    if claims < sum(blow.claims for blow in plan.blows):
        yield Violation("end", "", f"{claims} claims, {plan.claims} planned")


def _witnesses(evidence: Evidence) -> Iterator[Violation]:
    by_run: dict[int, list[Attempt]] = defaultdict(list)
    for attempt in evidence.attempts:
        by_run[attempt.number].append(attempt)
        if attempt.begin < attempt.claimed - _slack_us(evidence) * 1000:
            yield Violation("witness", f"run {attempt.number}", "it began before its claim", (str(attempt),))
    for number, row in evidence.runs.items():
        attempts = sorted(by_run[number], key=lambda one: one.epoch)
        returned = sum(attempt.outcome == "returned" for attempt in attempts)
        enough = returned >= 1 if evidence.killed else returned == 1
        who = (str(row), *map(str, attempts))
        if row["status"] == "SUCCESSFUL" and not enough:
            yield Violation("witness", f"run {number}", f"SUCCESSFUL, and {returned} attempts returned", who)
        if not evidence.killed and len(attempts) != row["attempts"]:
            yield Violation(
                "witness", f"run {number}", f"{len(attempts)} attempts for {row['attempts']}", who
            )
        last = attempts[-1] if attempts else None
        if last and last.epoch == row["epoch"] and _micros(row["last_attempted_at"]) != last.claimed_us:
            yield Violation("witness", f"run {number}", "its row names another time of its claim", who)


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
