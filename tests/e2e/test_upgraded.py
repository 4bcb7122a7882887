"""Work that the earlier system left in its own database: after the upgrade, our worker does it."""

from pathlib import Path

import pytest
from django.db import connections
from harness import ALIAS, Site, until

from reproq_django.schema import apply_schema

UPGRADE = Path(__file__).parent.parent / "upgrade"
SHAPES = [("postgres", "made_by_sql"), ("postgres", "made_by_django"), ("sqlite", "made_by_django")]
READY, FUTURE, LOCKED, RUNNING = 11, 12, 13, 14
#: The next link of the chain that RUNNING is in.
WAITING = 18
DONE = (READY, LOCKED, RUNNING, WAITING)


@pytest.fixture(params=SHAPES, ids=lambda shape: f"{shape[1]}-{shape[0]}")
def shape(request: pytest.FixtureRequest) -> str:
    return f"{request.param[1]}.{request.param[0]}.sql"


@pytest.fixture
def engine(shape: str) -> str:
    return shape.split(".")[1]


def test_ready_and_abandoned_runs_of_the_earlier_system_run(site: Site, shape: str) -> None:
    connection = connections[ALIAS]
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        for table in tables:
            cursor.execute(f"DROP TABLE {table}" + (" CASCADE" if site.is_postgres else ""))
        for script in (UPGRADE / shape, UPGRADE / "rows.sql"):
            text = script.read_text()
            cursor.execute(text) if site.is_postgres else cursor.connection.executescript(text)
    apply_schema(connection)

    with site.worker():
        until(lambda: site.runs(pk__in=DONE, status="SUCCESSFUL").count() == len(DONE))
    assert sorted(site.lines()) == [f"mark {number}" for number in DONE]
    assert site.lines().index(f"mark {RUNNING}") < site.lines().index(f"mark {WAITING}")
    assert site.runs().get(pk=FUTURE).status == "READY"
    abandoned = site.runs().get(pk=RUNNING)
    assert (abandoned.attempts, [entry["kind"] for entry in abandoned.errors_json]) == (2, ["lease_expiry"])
