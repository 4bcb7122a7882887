"""Workflows under workers that are killed, in small. For the large one there is `make hammer-workflows`."""

from harness import Site
from tests.workflows.drive import Plan, drive
from tests.workflows.verdict import judge


def test_what_waits_starts_once_and_after_all_that_it_waits_for(site: Site, engine: str) -> None:
    plan = Plan(seed=20261128, chords=40, width=20, chains=15, length=8, kill_every=1.5)
    verdict = judge(engine, plan, drive(site, plan))
    assert not verdict.violations, verdict
