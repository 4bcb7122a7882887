"""Breaks the claim on purpose, one small way at a time, and looks whether the tests of the store notice.

::

    python tools/postgres.py run -- python tools/mutants.py [WORD ...]

Each mutant is one replacement in one file; the file is put back whatever happens. A mutant that no test
notices has survived, and the exit code is 1. With words, only mutants whose name has one of them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
STORE = "crates/reproq-store/src"
MODEL = "crates/reproq-model/src"
#: The suites that are about claiming; `statements` is about cost and knows nothing of wrong answers.
SUITES = "test(/sequences|race|admission|keyed|claim|finish|dedupe|cancel|lease|rate/)"


class Mutant(NamedTuple):
    """One way to be wrong."""

    name: str
    file: str
    old: str
    new: str


MUTANTS = [
    Mutant(
        "the finish does not match the epoch",
        f"{STORE}/postgres/sql/finish.sql",
        "WHERE r.status = 'RUNNING' AND r.epoch = e.epoch\n       AND (r.incarnation",
        "WHERE r.status = 'RUNNING'\n       AND (r.incarnation",
    ),
    Mutant(
        "the finish does not match the owner",
        f"{STORE}/postgres/sql/finish.sql",
        "AND (r.incarnation = $12 OR ($12 IS NULL AND r.leased_until < clock_timestamp()))\n), decided",
        "AND (TRUE OR r.incarnation = $12 OR ($12 IS NULL AND r.leased_until < "
        "clock_timestamp()))\n), decided",
    ),
    Mutant(
        "an ending keeps its slot",
        f"{STORE}/postgres/sql/finish.sql",
        "incarnation = NULL, slot_no = NULL,",
        "incarnation = NULL,",
    ),
    Mutant(
        "the claim does not raise the epoch",
        f"{STORE}/postgres/sql/claim_keyed.sql",
        "epoch = r.epoch + 1",
        "epoch = r.epoch + 0",
    ),
    Mutant(
        "the claim takes what is no longer READY",
        f"{STORE}/postgres/sql/claim_keyed.sql",
        "WHERE r.status = 'READY' AND r.gate IN (0, 2)",
        "WHERE r.gate IN (0, 2)",
    ),
    Mutant(
        "the claim does not skip what others hold, but takes it again",
        f"{STORE}/postgres/sql/claim.sql",
        "LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED) AS head",
        "LIMIT $2) AS head",
    ),
    Mutant(
        "nobody locks a key, and the slots are not unique",
        f"{STORE}/postgres/sql/lock_keys.sql",
        " WHERE pg_try_advisory_xact_lock(hashtextextended('reproq:' || k.key, 0))",
        " WHERE TRUE",
    ),
    Mutant(
        "the decision is made by facts that are older than the locks",
        f"{STORE}/postgres/claim_keyed.rs",
        "    let admission = lane.decide(visit, plan, &within, &facts, request.limit);",
        "    let admission = lane.decide(visit, plan, &within, &Facts { locks: HashSet::new(), "
        "slots: HashMap::new(), ..facts.clone() }, request.limit);",
    ),
    Mutant(
        "rates are read without being locked",
        f"{STORE}/postgres/sql/rates_locked.sql",
        " ORDER BY key FOR NO KEY UPDATE",
        " ORDER BY key",
    ),
    Mutant(
        "what starts is not charged",
        f"{STORE}/postgres/sql/charge_rates.sql",
        "    tat = EXCLUDED.tat, current_tokens",
        "    tat = l.tat, current_tokens",
    ),
    Mutant(
        "one more than the limit",
        f"{MODEL}/admission.rs",
        "is_some_and(|limit| taken >= limit)",
        "is_some_and(|limit| taken > limit)",
    ),
    Mutant(
        "a lock holds back nobody",
        f"{MODEL}/admission.rs",
        "self.locks.contains(lock))",
        "self.locks.contains(lock) && self.charged.len() > 99)",
    ),
    Mutant(
        "one start more than the burst",
        f"{MODEL}/rate.rs",
        "(f64::from(self.burst) - debt).floor()",
        "(f64::from(self.burst) + 1.0 - debt).floor()",
    ),
    Mutant(
        "a group may have every slot",
        f"{MODEL}/admission.rs",
        "served.insert(group.to_owned());",
        "served.remove(group);",
    ),
    Mutant(
        "a paused task starts with the keyed runs",
        f"{STORE}/postgres/sql/claim_keyed_visit.sql",
        " WHERE head.task_path NOT IN (SELECT task_path FROM reproq_paused_tasks)\n",
        "",
    ),
    Mutant(
        "a paused queue is claimed",
        f"{STORE}/postgres/sql/claim.sql",
        "WHERE q.queue_name NOT IN (SELECT queue_name FROM reproq_paused_queues)\n       AND NOT",
        "WHERE NOT",
    ),
    Mutant(
        "a counted queue is claimed without being counted",
        f"{STORE}/postgres/sql/claim.sql",
        "       AND NOT EXISTS (SELECT 1 FROM reproq_limited_queues l WHERE l.queue_name IN "
        "('', q.queue_name))\n",
        "",
    ),
    Mutant(
        "a retry stands for its twins again",
        f"{STORE}/postgres/sql/claim.sql",
        "dedup = CASE r.dedup WHEN 1 THEN -1 ELSE r.dedup END",
        "dedup = r.dedup",
    ),
    Mutant(
        "a cancelled run is retried",
        f"{STORE}/postgres/sql/finish.sql",
        "CASE WHEN cancelled THEN 'CANCELLED' ELSE status END",
        "status",
    ),
]


def is_noticed(mutant: Mutant) -> bool:
    """Whether a test fails, or nothing compiles, with this one mistake."""
    path = ROOT / mutant.file
    sound = path.read_text("utf-8")
    if sound.count(mutant.old) != 1:
        raise SystemExit(
            f"mutant {mutant.name!r}: its text is in {mutant.file} {sound.count(mutant.old)} times"
        )
    path.write_text(sound.replace(mutant.old, mutant.new), "utf-8")
    try:
        build = ["cargo", "test", "--no-run", "-q", "-p", "reproq-store", "-p", "reproq-model"]
        compiled = subprocess.run(build, cwd=ROOT, check=False, capture_output=True, text=True)
        if compiled.returncode:
            raise SystemExit(f"mutant {mutant.name!r} does not compile:\n{compiled.stderr}")
        tests = [
            "cargo",
            "nextest",
            "run",
            "--no-fail-fast",
            "--cargo-quiet",
            "--status-level",
            "none",
            "--final-status-level",
        ]
        tests += ["fail", "-p", "reproq-store", "-p", "reproq-model", "-E", SUITES]
        environment = {**os.environ, "REPROQ_SEQUENCES": "100", "RUST_BACKTRACE": "0"}
        ran = subprocess.run(tests, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
        failed = sum(line.lstrip().startswith("FAIL") for line in ran.stderr.splitlines())
        print(f"{'caught by ' + str(failed) if ran.returncode else 'SURVIVED':14} {mutant.name}", flush=True)
        return ran.returncode != 0
    finally:
        path.write_text(sound, "utf-8")


def main() -> int:
    """Try all, or those that the words pick."""
    words = sys.argv[1:]
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    began = time.monotonic()
    survivors = [mutant.name for mutant in chosen if not is_noticed(mutant)]
    caught = len(chosen) - len(survivors)
    print(f"{caught} of {len(chosen)} mutants caught in {time.monotonic() - began:.0f} s")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
