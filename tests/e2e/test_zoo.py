"""Whatever tasks do, one worker records it, gives their slots back, and leaves the next task nothing of it.

Once each in the suite; REPROQ_REPEAT=20 is what a release has to stand.
"""

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from harness import ALIAS, Marked, Site, until
from zoo import CRASHED, QUARANTINED, REPEAT, RETURNED, ZOO, Case

from testapp import looks, zoo

SLOTS = 4
MIB = 1024 * 1024
#: How long after its end, or its limit, a behaviour may keep its slot. A suite runs beside other things.
SLOT_BACK_SECONDS = 1 if REPEAT > 1 else 4
#: What new interpreters need to import the site, as many at a time as there are slots.
START_SECONDS = 4
#: In the other modes: one of each kind.
FEW = (
    zoo.segfaults,
    zoo.kills_its_group,
    zoo.eats_memory,
    zoo.eats_memory_elsewhere,
    zoo.loops_in_c,
    zoo.waits_in_its_storm,
    zoo.closes_all_descriptors,
    zoo.writes_garbage_to_all_descriptors,
    zoo.prints_without_newlines,
    zoo.returns_50_megabytes,
    zoo.raises_without_text,
    zoo.leaves_a_daemon,
    zoo.leaves_a_transaction,
)


def rounds(cases: list[Case]) -> Iterator[list[Case]]:
    """As many as there are slots at a time, in ever other company."""
    mixed = [case for case in cases if not case.alone]
    random.shuffle(mixed)
    for start in range(0, len(mixed), SLOTS):
        yield mixed[start : start + SLOTS]
    for case in cases:
        if case.alone:
            yield [case]


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def wrong(case: Case, run: Any) -> Iterator[str]:
    """What is recorded and should not be."""
    outcome = run.attempts_json[-1]["outcome"]
    status = "SUCCESSFUL" if case.outcome == RETURNED else "FAILED"
    # The history says how each attempt has ended; that there is no other is the run's affair.
    expected = CRASHED if case.outcome == QUARANTINED else case.outcome
    if (run.status, outcome, run.attempts) != (status, expected, case.attempts):
        yield f"{run.status}, {outcome}, {run.attempts} attempts: {run.errors_json}"
    elif case.outcome == RETURNED:
        if run.errors_json or json.dumps(run.return_json) != json.dumps(case.returns):
            yield f"it returned {run.return_json!r}; {run.errors_json}"
    elif run.errors_json[-1]["kind"] != case.outcome or case.says not in run.errors_json[-1]["message"]:
        yield f"{run.errors_json[-1]}"
    took = (run.finished_at - run.started_at).total_seconds()
    if took > case.seconds + SLOT_BACK_SECONDS:
        yield f"it has kept its slot for {took} s"


class Visit:
    """What is looked at while the behaviours go through one worker."""

    def __init__(self, site: Site, marked: Marked, *, start_seconds: float) -> None:
        self.start_seconds = start_seconds
        self.site, self.worker, self.marked = site, marked.worker, marked
        self.rounds = 0
        self.wrong: list[str] = []
        self.slowest = self.most = 0.0
        for _ in range(3):
            self.clean = self.finds(self.look())[0]
        self.guard = self.worker.guard()
        self.before = resident(self.worker.process.pid)

    def look(self) -> list[Any]:
        """Ask for as many looks around as there are slots, each behind whatever is in its slot."""
        self.rounds += 1
        place = self.site.folder / f"looks-{self.rounds}"
        place.mkdir()
        return [looks.looks_around.enqueue(str(place), SLOTS) for _ in range(SLOTS)]

    def finds(self, looks: list[Any]) -> list[dict[str, Any]]:
        for look in looks:
            until(lambda look=look: self.site.run(look).status not in ("READY", "RUNNING"), what="they look")
        runs = [self.site.run(look) for look in looks]
        ends = {(run.status, run.attempts) for run in runs}
        assert ends == {("SUCCESSFUL", 1)}, [run.errors_json for run in runs]
        self.began = sorted(run.return_json["began"] for run in runs)
        found: list[dict[str, Any]] = [run.return_json["finds"] for run in runs]
        return found

    def round(self, cases: list[Case]) -> None:
        """Let them misbehave at the same time, and see who comes after them."""
        results = [case.task.enqueue(*case.args) for case in cases]
        for found in self.finds(self.look()):
            if found != self.clean:
                changed = {key: found[key] for key in found if found[key] != self.clean[key]}
                self.wrong.append(f"found after {[case.name for case in cases]}: {changed}")
        self.site.ended()
        runs = [self.site.run(result) for result in results]
        for case, run in zip(cases, runs, strict=True):
            self.wrong += [f"{case.name}: {what}" for what in wrong(case, run)]
        # Without its zygote, a slot has to wait for the next one to import the site.
        patience = SLOT_BACK_SECONDS + (START_SECONDS if cases[0].alone else self.start_seconds)
        self.slots_came_back(sorted(run.finished_at for run in runs), patience, [case.name for case in cases])
        self.nothing_is_left()

    def slots_came_back(self, ends: list[datetime], patience: float, names: list[str]) -> None:
        """The first slot that is free again goes to the first who looks, and so on."""
        for end, began in zip(ends, self.began[-len(ends) :], strict=True):
            waited = began - end.timestamp()
            self.slowest = max(self.slowest, waited)
            if waited > patience:
                self.wrong.append(f"a slot was back {waited} s after the end of one of {names}")

    def nothing_is_left(self) -> None:
        """No process beside those of the worker's own, no transaction, no memory."""
        own = {self.guard, *self.worker.zygotes(), *self.worker.children()}
        until(
            lambda: self.marked.left() <= {self.guard, *self.worker.zygotes(), *self.worker.children()},
            seconds=SLOT_BACK_SECONDS,
            what=f"nobody is left behind: {self.marked.left() - own}",
        )
        until(lambda: not self.worker.zombies(), seconds=SLOT_BACK_SECONDS, what="the dead are reaped")
        assert self.worker.process.poll() is None, self.worker.said[-4000:]
        if self.site.is_postgres:
            with connections[ALIAS].cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
                    " AND datname = current_database()"
                )
                assert cursor.fetchone()[0] == 0
        grown = resident(self.worker.process.pid) - self.before
        self.most = max(self.most, grown)
        assert grown < 16 * MIB, f"the worker has grown by {grown / MIB:.1f} MiB"


def visit(site: Site, cases: list[Case], mode: str) -> None:
    flags = ("--concurrency", str(SLOTS), "--executor-mode", mode)
    # Connections that stay, as in many a site: what a task leaves in one would reach the next.
    database = json.dumps(site.database | {"CONN_MAX_AGE": 600})
    began = time.monotonic()
    with ExitStack() as stack:
        marked = Marked(site, stack, *flags, REPROQ_E2E_DATABASE=database)
        seen = Visit(site, marked, start_seconds=START_SECONDS if mode == "process" else 0)
        for _ in range(REPEAT):
            for together in rounds(cases):
                seen.round(together)
        marked.worker.end()
        assert marked.worker.process.returncode == 0
        assert not marked.left()
    print(
        f"\n{mode}: {REPEAT} x {len(cases)} behaviours in {time.monotonic() - began:.0f} s;"
        f" 0 exits of the worker, 0 processes left; slots back within {seen.slowest * 1000:.0f} ms;"
        f" the worker has grown by {seen.most / MIB:.1f} MiB"
    )
    assert not seen.wrong, "\n".join(seen.wrong)


def test_the_zoo_has_all_that_was_promised() -> None:
    assert len({case.name for case in ZOO}) >= 32


def test_whatever_tasks_do_nobody_else_notices(site: Site) -> None:
    visit(site, ZOO, "pool")


@pytest.mark.parametrize("mode", ["fork", "process"])
@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_nobody_notices_in_other_modes_either(site: Site, mode: str) -> None:
    visit(site, [case for case in ZOO if case.task in FEW], mode)
