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
    """One seed on one database or both; 1 if a tick fired twice or not at all."""
    parser = argparse.ArgumentParser(prog="python -m tests.schedulers", description=__doc__)
    parser.add_argument("--database", choices=["postgres", "sqlite", "both"], default="both")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.path[:0] = [str(ROOT / path) for path in ("tests/e2e", "tests", "src")]
    os.environ["DJANGO_SETTINGS_MODULE"] = "e2e_settings"
    os.environ["REPROQ_E2E_DATABASE"] = json.dumps({"ENGINE": "django.db.backends.dummy"})
    django.setup()
    from harness import new_site
    from tests.schedulers.drive import Plan, drive
    from tests.schedulers.verdict import judge
    from tools.postgres import PostgresCluster

    binary = Path(os.environ.get("REPROQ_WORKER_BIN") or ROOT / "target" / "release" / "reproq")
    plan = Plan(arguments.seed, schedules=arguments.schedules, seconds=arguments.seconds)
    kept = True
    for database in ("postgres", "sqlite") if arguments.database == "both" else (arguments.database,):
        with (
            tempfile.TemporaryDirectory(prefix="schedulers-") as folder,
            PostgresCluster(durable=True) if database == "postgres" else nullcontext() as cluster,
            new_site(cluster.dsn() if cluster else None, Path(folder), binary) as site,
        ):
            verdict = judge(database, plan, drive(site, plan, cluster))
        print(verdict.line, flush=True)
        for violation in [*verdict.double, *verdict.missed][:SHOWN]:
            print(f"  {violation}", flush=True)
        kept = kept and verdict.kept
    print("kept" if kept else "BROKEN")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
