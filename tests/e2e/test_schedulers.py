"""Several schedulers, killed and stopped at random, in small; `make hammer-schedules` is the large one."""

from harness import Site
from tests.schedulers.drive import Plan, drive
from tests.schedulers.verdict import judge
from tools.postgres import PostgresCluster


def test_each_tick_fires_once_whoever_is_killed_or_stopped(
    site: Site, engine: str, durable_cluster: PostgresCluster
) -> None:
    plan = Plan(seed=20261128, schedules=20, seconds=12, restarts=1)
    verdict = judge(engine, plan, drive(site, plan, durable_cluster if site.is_postgres else None))
    assert verdict.kept, verdict
