"""The command line."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import django

ROOT = Path(__file__).parent.parent.parent
SHOWN = 10


def main() -> int:
    """One seed on one database or both; 1 if anything was not as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.workflows", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite", "both"], default="both")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--chords", type=int, default=1000)
    parser.add_argument("--chains", type=int, default=200)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.path[:0] = [str(ROOT / path) for path in ("tests/e2e", "tests", "src")]
    os.environ["DJANGO_SETTINGS_MODULE"] = "e2e_settings"
    os.environ["REPROQ_E2E_DATABASE"] = json.dumps({"ENGINE": "django.db.backends.dummy"})
    django.setup()
    from harness import new_site
    from tests.workflows.drive import Plan, drive
    from tests.workflows.verdict import judge
    from tools.postgres import PostgresCluster

    binary = Path(os.environ.get("REPROQ_WORKER_BIN") or ROOT / "target" / "release" / "reproq")
    plan = Plan(arguments.seed, chords=arguments.chords, chains=arguments.chains)
    kept = True
    for database in ("postgres", "sqlite") if arguments.database == "both" else (arguments.database,):
        with (
            tempfile.TemporaryDirectory(prefix="workflows-") as folder,
            PostgresCluster(durable=True) if database == "postgres" else nullcontext() as cluster,
            new_site(cluster.dsn() if cluster else None, Path(folder), binary) as site,
        ):
            verdict = judge(database, plan, drive(site, plan))
        print(verdict.line, flush=True)
        for violation in verdict.violations[:SHOWN]:
            print(f"  {violation}", flush=True)
        kept = kept and not verdict.violations
    print("kept" if kept else "BROKEN")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
