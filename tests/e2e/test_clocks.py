"""The cron evaluator where clocks are changed, beside the written rule and another evaluator; for all zones
`make compare-cron`."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.clocks.compare import Comparison, compare, use_packaged_zones

#: An hour at the usual times, half an hour, at midnight, before and after Ramadan, from Saturday to Sunday.
ZONES = ["Europe/Prague", "Australia/Lord_Howe", "Asia/Beirut", "Africa/Casablanca", "America/Santiago"]


@pytest.mark.parametrize("zone", ZONES)
def test_the_evaluator_follows_the_rule_through_clock_changes(binary: Path, zone: str) -> None:
    use_packaged_zones()
    found = Comparison()
    compare(binary, zone, datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC), found)
    assert found.changes >= 4
    assert not found.against_rule, found.against_rule
    assert not found.against_cronsim, found.against_cronsim
