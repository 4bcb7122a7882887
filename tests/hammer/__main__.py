"""The command line. REPROQ_TEST_DATABASE_URL names the PostgreSQL server; `tools/postgres.py run` sets it."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import django

ROOT = Path(__file__).parent.parent.parent


def main() -> int:
    """Run seed after seed; 1 if any promise was broken."""
    arguments = _arguments()
    # Workers and databases are put away on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.path[:0] = [str(ROOT / path) for path in ("tests/e2e", "tests", "src")]
    os.environ["DJANGO_SETTINGS_MODULE"] = "e2e_settings"
    os.environ["REPROQ_E2E_DATABASE"] = json.dumps({"ENGINE": "django.db.backends.dummy"})
    django.setup()
    from harness import new_site
    from tests.hammer.drive import Force, hammer
    from tests.hammer.plan import Plan
    from tests.hammer.verdict import SHOWN, judge

    server = os.environ["REPROQ_TEST_DATABASE_URL"] if arguments.database == "postgres" else None
    binary = Path(os.environ.get("REPROQ_WORKER_BIN") or ROOT / "target" / "release" / "reproq")
    workers = arguments.workers or (16 if server else 1)
    force = Force(workers, arguments.slots or 16 // workers, arguments.kills)
    verdicts = []
    for seed in range(arguments.seed, arguments.seed + arguments.seeds):
        # With kills, runs need more attempts than the plan spends.
        plan = Plan(seed, arguments.claims, arguments.pace, patience=100 if force.kills else 1)
        with (
            tempfile.TemporaryDirectory(prefix="hammer-") as folder,
            new_site(server, Path(folder), binary) as site,
        ):
            verdict = judge(hammer(site, plan, force, sabotage=arguments.sabotage))
        verdicts.append(verdict)
        if not arguments.json:
            print(verdict.line, flush=True)
            for violation in verdict.violations[:SHOWN]:
                print(f"  {violation}", flush=True)
    broken = sum(len(verdict.violations) for verdict in verdicts)
    if arguments.json:
        print(json.dumps({"violations": broken, "seeds": [verdict.as_json() for verdict in verdicts]}))
    else:
        claims = sum(verdict.claims for verdict in verdicts)
        print(
            f"{'BROKEN' if broken else 'kept'}: {broken} violations in {claims} claims, {len(verdicts)} seeds"
        )
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.hammer", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--claims", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=0, help="default: 16 on PostgreSQL, 1 on SQLite")
    parser.add_argument(
        "--slots", type=int, default=0, help="of each worker; default: 16 shared by the workers"
    )
    parser.add_argument("--kills", type=int, default=0, help="workers to be killed (SIGKILL) and replaced")
    parser.add_argument(
        "--pace", type=float, default=250, help="claims per second that the rates are made for"
    )
    parser.add_argument(
        "--sabotage", action="store_true", help="hide the keys from the workers: must be noticed"
    )
    parser.add_argument("--json", action="store_true", help="all that was found, as one document")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
