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
#: Where the sequences keep what failed; a mutant's failures are not for keeping.
FAILED_BEFORE = ROOT / "crates/reproq-store/tests/it/sequences/failed_before.txt"
#: The suites that are about claiming; `statements` is about cost and knows nothing of wrong answers.
SUITES = (
    "test(/sequences|together|race|admission|keyed|claim|finish|dedupe|cancel|lease|due|rate|history/)"
    " - test(/^mutants/)"
)


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
        "AND (r.incarnation = $13 OR ($13 IS NULL AND r.leased_until < clock_timestamp()))\n), decided",
        "AND (TRUE OR r.incarnation = $13 OR ($13 IS NULL AND r.leased_until < "
        "clock_timestamp()))\n), decided",
    ),
    Mutant(
        "a history forgets what was before",
        f"{STORE}/postgres/sql/finish.sql",
        "THEN r.attempts_json ELSE r.attempts_json - 0 END",
        "THEN '[]' ELSE r.attempts_json - 0 END",
    ),
    Mutant(
        "a run that waits again keeps its progress",
        f"{STORE}/sqlite/sql/finish.sql",
        "progress_json = CASE WHEN e.value ->> 2 <> 'READY' OR cancel_requested THEN progress_json END",
        "progress_json = progress_json",
    ),
    Mutant(
        "progress is anybody's",
        f"{STORE}/postgres/sql/show_progress.sql",
        "AND r.epoch = s.epoch AND r.incarnation = $4",
        "AND r.epoch = s.epoch AND $4 IS NOT NULL",
    ),
    Mutant(
        "a look that comes late replaces a later one",
        f"{STORE}/sqlite/sql/keep_logs.sql",
        " WHERE l.bytes + l.dropped < excluded.bytes + excluded.dropped",
        "",
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
    Mutant(
        "what the locked keys are decided by is a snapshot of before",
        f"{STORE}/postgres/claim_keyed.rs",
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
    ),
    Mutant(
        "an ending takes back a lease that has not ended",
        f"{STORE}/postgres/sql/finish.sql",
        "AND (r.incarnation = $13 OR ($13 IS NULL AND r.leased_until < clock_timestamp()))\n), decided",
        "AND (r.incarnation = $13 OR $13 IS NULL)\n), decided",
    ),
    Mutant(
        "a run given back has spent its attempt",
        f"{STORE}/postgres/sql/finish.sql",
        "attempts = r.attempts - e.give_back::int",
        "attempts = r.attempts",
    ),
    Mutant(
        "a worker takes back its own runs",
        f"{STORE}/postgres/sql/expired.sql",
        "AND incarnation IS DISTINCT FROM $2 LIMIT",
        "AND ($2 IS NULL OR TRUE) LIMIT",
    ),
    Mutant(
        "a heartbeat renews nothing",
        f"{STORE}/postgres/sql/heartbeat.sql",
        "UPDATE task_runs r SET leased_until = clock_timestamp() + make_interval(secs => $3)",
        "UPDATE task_runs r SET leased_until = r.leased_until",
    ),
    Mutant(
        "a due run with a key comes into the free lane",
        f"{STORE}/postgres/sql/promote_due.sql",
        "SET gate = CASE WHEN r.visit_key IS NULL THEN 0 ELSE 2 END",
        "SET gate = 0",
    ),
    Mutant(
        "the claim takes the oldest run, not the best",
        f"{STORE}/postgres/sql/claim.sql",
        "ORDER BY r.claim_key, r.result_id LIMIT $2 FOR",
        "ORDER BY r.result_id LIMIT $2 FOR",
    ),
    Mutant(
        "runs of a paused task are taken along with the free ones",
        f"{STORE}/postgres/sql/claim.sql",
        "     WHERE head.task_path NOT IN (SELECT task_path FROM reproq_diverted_tasks)\n",
        "",
    ),
    Mutant(
        "an enqueue's word counts more than an operator's",
        f"{STORE}/postgres/sql/key_facts.sql",
        "ORDER BY k.pinned DESC, k.limit_id DESC",
        "ORDER BY k.pinned, k.limit_id DESC",
    ),
    Mutant(
        "the worst of a key's line comes first",
        f"{MODEL}/admission.rs",
        "sorted.sort_by_key(|candidate| (candidate.claim_key, candidate.id));",
        "sorted.sort_by_key(|candidate| (-candidate.claim_key, candidate.id));",
    ),
    Mutant(
        "what starts in a round is not counted in it",
        f"{MODEL}/admission.rs",
        "*self.charged.entry(name).or_default() += 1;",
        "*self.charged.entry(name).or_default() += 0;",
    ),
    Mutant(
        "what starts in a round takes no slot in it",
        f"{MODEL}/admission.rs",
        "        taken.insert(number);\n",
        "",
    ),
    Mutant(
        "what starts in a round takes no lock in it",
        f"{MODEL}/admission.rs",
        "        self.locks.extend(candidate.lock.as_deref());\n",
        "",
    ),
    Mutant(
        "the latest run is replaced by nobody",
        f"{MODEL}/admission.rs",
        "!candidate.is_latest && !one_starts && self.is_full(candidate)",
        "!one_starts && self.is_full(candidate)",
    ),
    Mutant(
        "a run is discarded although its key is free",
        f"{MODEL}/admission.rs",
        "OverLimit::Discard if self.is_full(candidate) =>",
        "OverLimit::Discard =>",
    ),
    Mutant(
        "expired runs start",
        f"{MODEL}/admission.rs",
        "        !candidate.expired\n    }));",
        "        true\n    }));",
    ),
    Mutant(
        "a rate is charged one start too few",
        f"{STORE}/keyed.rs",
        "state.rate.after(state.tat, facts.now, count);",
        "state.rate.after(state.tat, facts.now, count - 1);",
    ),
    Mutant(
        "a slower rate forgives what was admitted",
        f"{MODEL}/rate.rs",
        "let starts_ahead = (tat? - now).max(0) as f64 * before.per_second;",
        "let starts_ahead = (tat? - now).max(0) as f64 * before.per_second * 0.0;",
    ),
    Mutant(
        "SQLite: the finish does not match the epoch",
        f"{STORE}/sqlite/sql/finish.sql",
        " AND epoch = e.value ->> 1\n",
        "\n",
    ),
    Mutant(
        "SQLite: the finish does not match the owner",
        f"{STORE}/sqlite/sql/finish.sql",
        "AND (incarnation = ?2 OR (",
        "AND (TRUE OR incarnation = ?2 OR (",
    ),
    Mutant(
        "SQLite: an ending keeps its slot",
        f"{STORE}/sqlite/sql/finish.sql",
        "incarnation = NULL, slot_no = NULL,",
        "incarnation = NULL,",
    ),
    Mutant(
        "SQLite: a cancelled run is retried",
        f"{STORE}/sqlite/sql/finish.sql",
        "    status = CASE WHEN cancel_requested AND (e.value ->> 2 = 'READY' OR ?2 IS NULL) THEN "
        "'CANCELLED' ELSE e.value ->> 2 END,",
        "    status = e.value ->> 2,",
    ),
    Mutant(
        "SQLite: the claim does not raise the epoch",
        f"{STORE}/sqlite/sql/claim_keyed.sql",
        "epoch = epoch + 1",
        "epoch = epoch + 0",
    ),
    Mutant(
        "SQLite: the claim takes what another claimer has taken since the visit",
        f"{STORE}/sqlite/sql/claim.sql",
        "AND status = 'READY' AND gate = 0",
        "AND gate = 0",
    ),
    Mutant(
        "SQLite: the decision is made by facts of before the transaction",
        f"{STORE}/sqlite/claim_keyed.rs",
        "    let admission = lane.decide(visit, plan, &plan.picks, &facts, request.limit);",
        "    let admission = lane.decide(visit, plan, &plan.picks, &Facts { locks: HashSet::new(), "
        "slots: HashMap::new(), ..facts.clone() }, request.limit);",
    ),
    Mutant(
        "SQLite: what starts is not charged",
        f"{STORE}/sqlite/sql/charge_rates.sql",
        "    tat = excluded.tat, current_tokens",
        "    tat = rate_limits.tat, current_tokens",
    ),
    Mutant(
        "SQLite: a paused queue is claimed",
        f"{STORE}/sqlite/sql/claim_visit.sql",
        "           AND NOT EXISTS (SELECT 1 FROM reproq_paused_queues p WHERE p.queue_name = ?1)\n",
        "",
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
    remembered = FAILED_BEFORE.read_bytes() if FAILED_BEFORE.exists() else None
    path.write_text(sound.replace(mutant.old, mutant.new), "utf-8")
    try:
        build = ["cargo", "test", "--no-run", "-q", "-p", "reproq-store", "-p", "reproq-model"]
        compiled = subprocess.run(build, cwd=ROOT, check=False, capture_output=True, text=True)
        if compiled.returncode:
            raise SystemExit(f"mutant {mutant.name!r} does not compile:\n{compiled.stderr}")
        tests = ["cargo", "nextest", "run", "--cargo-quiet", "--status-level", "fail", "-p", "reproq-store"]
        tests += ["-p", "reproq-model", "-E", SUITES]
        environment = {**os.environ, "REPROQ_SEQUENCES": "60", "REPROQ_SEEDS": "3", "RUST_BACKTRACE": "0"}
        ran = subprocess.run(tests, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
        failed = [line.split()[-1] for line in ran.stderr.splitlines() if line.lstrip().startswith("FAIL")]
        seen_by = f"caught by {failed[0]}" if failed else f"exit code {ran.returncode}"
        print(f"{seen_by if ran.returncode else 'SURVIVED'}: {mutant.name}", flush=True)
        return ran.returncode != 0
    finally:
        path.write_text(sound, "utf-8")
        if remembered is None:
            FAILED_BEFORE.unlink(missing_ok=True)
        else:
            FAILED_BEFORE.write_bytes(remembered)


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
