"""A small hammer: the promises about keys, held against what tasks have witnessed. For a large one there is
`make hammer`."""

from harness import Site
from tests.hammer.drive import Force, hammer
from tests.hammer.plan import Plan
from tests.hammer.verdict import judge


def force(site: Site, kills: int = 0) -> Force:
    workers, slots = (2, 4) if site.is_postgres else (1, 8)
    return Force(workers, slots, kills)


def test_locks_limits_and_rates_hold_while_limits_change_and_tasks_fail(site: Site) -> None:
    verdict = judge(hammer(site, Plan(seed=20261124, claims=600, pace=60), force(site)))
    assert not verdict.violations, verdict
    assert (verdict.most_per_lock, verdict.limit_changes > 0) == (1, True)
    assert verdict.outcomes.keys() == {"returned", "raised", "exited"}


def test_they_hold_when_workers_are_killed(site: Site) -> None:
    plan = Plan(seed=20261125, claims=300, pace=150, kills=True)
    verdict = judge(hammer(site, plan, force(site, kills=1)))
    assert not verdict.violations, verdict
    assert verdict.claims >= 300


def test_workers_that_do_not_know_the_keys_are_found_out(site: Site) -> None:
    """The hammer can fail: the same checks, on a database that has forgotten what holds its runs back."""
    plan = Plan(seed=20261124, claims=300, pace=20)
    verdict = judge(hammer(site, plan, force(site), sabotage=True))
    broken = {violation.rule.split(",")[0] for violation in verdict.violations}
    assert broken == {"lock", "limit", "rate"}, verdict
    assert verdict.most_per_lock > 1
