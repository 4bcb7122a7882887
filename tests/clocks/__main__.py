"""The command line."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.clocks.compare import Comparison, compare, use_packaged_zones, zones

ROOT = Path(__file__).parent.parent.parent
SHOWN = 10


def main() -> int:
    """1 if the evaluator differs from the rule anywhere."""
    parser = argparse.ArgumentParser(prog="python -m tests.clocks", description=__doc__)
    parser.add_argument("--zones", type=int, default=400)
    parser.add_argument("--from-year", type=int, default=2020)
    parser.add_argument("--years", type=int, default=10)
    arguments = parser.parse_args()
    release = use_packaged_zones()
    binary = Path(os.environ.get("REPROQ_WORKER_BIN") or ROOT / "target" / "release" / "reproq")
    first = datetime(arguments.from_year, 1, 1, tzinfo=UTC)
    last = datetime(arguments.from_year + arguments.years, 1, 1, tzinfo=UTC)
    found = Comparison()
    for name in zones(arguments.zones):
        compare(binary, name, first, last, found)
    print(
        f"{found.zones} zones (tzdata {release}) over {arguments.years} years from {arguments.from_year}, "
        f"{found.changes} clock changes, {found.cases} cases; "
        f"differences from the written rule: {len(found.against_rule)}, "
        f"from cronsim: {len(found.against_cronsim)} where clocks change by an hour, "
        f"{len(found.by_other_spans)} where by another span"
    )
    differences = [*found.against_rule, *found.against_cronsim]
    for difference in [*differences[:SHOWN], *found.by_other_spans[:SHOWN]]:
        print(f"  {difference}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
