"""Holds what was enqueued against what had to be."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.schedulers.drive import Course, Plan


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one run came to."""

    line: str
    double: list[str]
    missed: list[str]

    @property
    def kept(self) -> bool:
        return not self.double and not self.missed


def judge(database: str, plan: Plan, course: Course) -> Verdict:
    """A tick fires at most once, and at least once unless its schedule says ``latest`` and its record of
    missed ticks accounts for it."""
    fired: dict[str, Counter[datetime]] = {name: Counter() for name in course.ends}
    lateness = []
    for name, tick, enqueued in course.runs:
        fired[name][tick] += 1
        lateness.append((enqueued - tick).total_seconds())
    double, missed, due, owned_up = [], [], 0, 0
    for name, end in course.ends.items():
        wanted = set(_ticks(course.began, end))
        due += len(wanted)
        double += [f"{name} {tick} x {count}" for tick, count in fired[name].items() if count > 1]
        missed += [f"{name} {tick} was never due" for tick in fired[name].keys() - wanted]
        open_ticks = wanted - fired[name].keys()
        recorded = sum(count for (of, _), count in course.missed.items() if of == name)
        owned_up += recorded
        if len(open_ticks) != recorded or (recorded and int(name[1:]) % 4 != 3):
            missed.append(f"{name}: {len(open_ticks)} ticks did not fire, {recorded} are recorded as missed")
    late = sorted(lateness)
    line = (
        f"{database} seed {plan.seed}: {plan.schedulers} schedulers, {plan.schedules} schedules every second "
        f"for {plan.seconds:.0f} s; {course.kills} kills, {course.stops} stops, {course.restarts} database "
        f"restarts; {due} ticks due, {len(course.runs)} fired, {owned_up} passed over as the policy says and "
        f"recorded; late p50 {late[len(late) // 2]:.2f} s, max {late[-1]:.2f} s; {len(double)} double, "
        f"{len(missed)} missed"
    )
    return Verdict(line, double, missed)


def _ticks(first: datetime, end: datetime) -> list[datetime]:
    return [first + timedelta(seconds=number) for number in range(int((end - first).total_seconds()))]
