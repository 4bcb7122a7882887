"""`manage.py migrate` over databases that the earlier system made, with rows in every state, and over fresh
ones."""

from collections.abc import Callable
from functools import cache
from itertools import count

import pytest
from tools.postgres import PostgresCluster

from reproq_django.schema import SCHEMA_VERSION
from upgrade.sites import HERE, PostgresSite, Site, SqliteSite

type MakeSite = Callable[[str], Site]

SHAPES = ["made_by_sql.postgres", "made_by_django.postgres", "made_by_django.sqlite"]
SCHEMA_1 = ["made_by_schema_1.postgres", "made_by_schema_1.sqlite"]
SCHEMA_2 = ["made_by_schema_2.postgres", "made_by_schema_2.sqlite"]
SCHEMA_3 = ["made_by_schema_3.postgres", "made_by_schema_3.sqlite"]
SCHEMA_4 = ["made_by_schema_4.postgres", "made_by_schema_4.sqlite"]
OWN = [*SCHEMA_1, *SCHEMA_2, *SCHEMA_3, *SCHEMA_4]
_numbers = count()


@pytest.fixture(scope="module")
def make_site(postgres_cluster: PostgresCluster, tmp_path_factory: pytest.TempPathFactory) -> MakeSite:
    """A database of a vendor: empty, or in one of the earlier shapes with its rows."""
    folder = tmp_path_factory.mktemp("upgrade")

    def make(shape: str) -> Site:
        vendor = shape.rpartition(".")[2]
        number = next(_numbers)
        site: Site = (
            PostgresSite(postgres_cluster, f"upgrade_{number}")
            if vendor == "postgres"
            else SqliteSite(folder / f"{number}.sqlite3")
        )
        if shape != vendor:
            site.sql((HERE / f"{shape}.sql").read_text())
            site.sql((HERE / "rows.sql").read_text())
        return site

    return make


@pytest.fixture(scope="module")
def migrated(make_site: MakeSite) -> MakeSite:
    """A site after `migrate`, made once; tests that write take one of their own."""

    @cache
    def make(shape: str) -> Site:
        site = make_site(shape)
        site.migrate()
        return site

    return make


@pytest.fixture(params=SHAPES)
def upgraded(request: pytest.FixtureRequest, migrated: MakeSite) -> Site:
    return migrated(request.param)


@pytest.mark.parametrize("shape", [*SHAPES, *OWN])
def test_an_upgraded_schema_is_a_fresh_one(migrated, shape):
    old, fresh = migrated(shape), migrated(shape.rpartition(".")[2])
    wanted, found = fresh.shape(), old.shape()
    own = {row for rows in found.values() for row in rows if "a_site_made_this_itself" in str(row)}
    assert len(own) == (shape not in OWN)
    for part in wanted:
        assert found[part] - own == wanted[part], part
    assert ("schema_version", SCHEMA_VERSION) in old.rows("SELECT key, value FROM reproq_meta")


def test_every_run_is_kept(upgraded):
    states = dict(upgraded.rows("SELECT result_id, status FROM task_runs"))
    assert states == {
        11: "READY", 12: "READY", 13: "READY", 14: "RUNNING", 15: "RUNNING", 16: "SUCCESSFUL", 17: "FAILED",
        18: "WAITING", 19: "CANCELLED",
    }  # fmt: skip
    assert upgraded.rows("SELECT parent_id, wait_count FROM task_runs WHERE result_id = 18") == [(14, 1)]
    assert upgraded.rows("SELECT name FROM periodic_tasks") == [("nightly",)]
    assert upgraded.rows("SELECT queue_name FROM reproq_queue_controls") == [("mail",)]
    assert ("global",) in upgraded.rows("SELECT key FROM rate_limits")


def test_ready_runs_get_a_lane_in_which_they_still_deduplicate(upgraded):
    lanes = upgraded.rows(
        "SELECT result_id, gate, dedup FROM task_runs WHERE status = 'READY' ORDER BY result_id"
    )
    assert lanes == [(11, 0, 1), (12, 1, 1), (13, 2, 1)]
    (first,), (second,) = upgraded.rows(
        "SELECT claim_key FROM task_runs WHERE result_id IN (11, 13) ORDER BY result_id"
    )
    assert second - first == 10 * 60 * 1_000_000
    assert upgraded.rows("SELECT DISTINCT dedup FROM task_runs WHERE status <> 'READY'") == [(0,)]


VISIT_KEY_OF_13 = "Fc\x1fL\x1fc\x1f\x1ftestapp.tasks.mark"


def test_ready_runs_with_keys_stand_behind_their_keys(upgraded):
    keyed = upgraded.rows("SELECT result_id, gate, visit_key FROM task_runs WHERE visit_key IS NOT NULL")
    assert keyed == [(13, 2, VISIT_KEY_OF_13)]


@pytest.fixture(params=SCHEMA_1)
def of_schema_1(request: pytest.FixtureRequest, make_site: MakeSite) -> Site:
    """Migrated from schema 1, in which some runs waited for their time, for a retry or for nothing."""
    site = make_site(request.param)
    site.sql("""
        INSERT INTO task_runs
            (result_id, spec_json, spec_hash, task_path, lock_key, concurrency_key, run_after)
        VALUES
            (31, '{}', 'h31', 'a.b', 'L', NULL, NULL),
            (32, '{}', 'h32', 'a.b', 'L', NULL, '2099-01-01 00:00:00'),
            (33, '{}', 'h33', 'a.b', NULL, 'c', NULL),
            (34, '{}', 'h34', 'a.b', '', '', NULL),
            (35, '{}', 'h35', 'a.b', 'L', NULL, NULL);
        UPDATE task_runs SET status = 'RUNNING', dedup = 0 WHERE result_id = 35;
        UPDATE task_runs SET status = 'READY', run_after = '2026-02-01 00:00:00' WHERE result_id = 35;
    """)
    # What schema 1 made of them: a key without a limit held nothing back.
    before = site.rows("SELECT result_id, gate FROM task_runs WHERE result_id > 30 ORDER BY result_id")
    assert before == [(31, 2), (32, 1), (33, 0), (34, 0), (35, 2)]
    site.migrate()
    return site


def test_runs_of_schema_1_get_the_lanes_of_today(of_schema_1):
    assert of_schema_1.rows("SELECT value FROM reproq_meta WHERE key = 'schema_version'") == [
        (SCHEMA_VERSION,)
    ]
    lanes = of_schema_1.rows(
        "SELECT result_id, gate, visit_key FROM task_runs WHERE status = 'READY' ORDER BY result_id"
    )
    lock = "LL\x1fL\x1f\x1f\x1fa.b"
    assert lanes == [
        (11, 0, None), (12, 1, None), (13, 2, VISIT_KEY_OF_13),
        (31, 2, lock), (32, 1, lock), (33, 2, "Fc\x1f\x1fc\x1f\x1fa.b"), (34, 0, None), (35, 2, lock),
    ]  # fmt: skip
    assert (
        of_schema_1.rows("SELECT result_id FROM task_runs WHERE status = 'READY' AND claim_key IS NULL") == []
    )


def test_a_site_that_has_had_its_migration_is_upgraded_too(make_site):
    """`migrate` has nothing to do where django_migrations knows the only migration."""
    for shape in OWN:
        site, fresh = make_site(shape), make_site(shape.rpartition(".")[2])
        fresh.migrate()
        site.sql("""
            CREATE TABLE django_migrations (
                id INTEGER PRIMARY KEY, app VARCHAR(255) NOT NULL, name VARCHAR(255) NOT NULL,
                applied TIMESTAMP NOT NULL);
            INSERT INTO django_migrations VALUES (1, 'reproq_django', '0001_baseline', '2026-01-01 00:00:00');
        """)
        assert "No migrations to apply" in site.migrate()
        assert site.shape() == fresh.shape()


@pytest.mark.parametrize("shape", [*SHAPES, *OWN])
def test_runs_of_before_have_an_empty_history(migrated, shape):
    site = migrated(shape)
    assert site.rows("SELECT DISTINCT CAST(attempts_json AS TEXT), progress_json FROM task_runs") == [
        ("[]", None)
    ]


@pytest.mark.parametrize("shape", [*SHAPES, *SCHEMA_2, "postgres", "sqlite"])
def test_logs_go_with_their_run_whoever_deletes_it(make_site, shape):
    site = make_site(shape)
    site.migrate()
    site.sql("""
        INSERT INTO task_runs (result_id, spec_json, spec_hash, task_path)
        VALUES (51, '{}', 'h51', 'a.b'), (52, '{}', 'h52', 'a.b'), (53, '{}', 'h53', 'a.b');
        INSERT INTO reproq_attempt_logs (result_id, epoch, attempt, chunks)
        VALUES (51, 1, 1, '[]'), (51, 2, 2, '[]'), (52, 1, 1, '[]'), (53, 1, 1, '[]');
        DELETE FROM task_runs WHERE result_id IN (51, 53);
    """)
    assert site.rows("SELECT result_id, epoch FROM reproq_attempt_logs") == [(52, 1)]


def test_abandoned_runs_can_be_reclaimed(upgraded):
    assert (
        upgraded.rows("SELECT result_id FROM task_runs WHERE status = 'RUNNING' AND leased_until IS NULL")
        == []
    )


def test_ids_come_from_the_sequence_that_is_there(make_site, migrated):
    site = make_site("made_by_schema_4.postgres")
    site.sql("ALTER SEQUENCE task_runs_result_id_seq RENAME TO a_name_of_before")
    site.migrate()
    assert site.shape() == migrated("postgres").shape()
    insert = """SELECT ids[1], since IS NOT NULL FROM reproq_insert_runs(
        '{}',
        '{"backend_alias": "default", "queue_name": "default", "priority": 0, "spec_hash": "h", "dedup": 0,
          "task_path": "a.b", "max_attempts": 3, "timeout_seconds": 900, "concurrency_limit": 0,
          "over_limit": 0}',
        '[{}]')"""
    latest = site.rows("SELECT last_value FROM task_runs_result_id_seq")[0][0]
    assert site.rows(insert)[0][0] in (latest, latest + 1)


RAW_INSERTS = """
    INSERT INTO task_runs (spec_json, spec_hash, task_path) VALUES ('{"task_path":"a.b"}', 'h', '');
    INSERT INTO reproq_workers (worker_id, hostname, concurrency) VALUES ('w', 'h', 1);
    INSERT INTO workflow_runs (workflow_id) VALUES ('00000000000000000000000000000001');
"""


def assert_raw_inserts_work(site):
    site.sql(RAW_INSERTS)
    row = site.rows("SELECT status, task_path, gate, epoch FROM task_runs WHERE spec_hash = 'h'")
    assert row == [("READY", "a.b", 0, 0)]


@pytest.mark.parametrize("vendor", ["postgres", "sqlite"])
def test_a_site_without_migrations_gets_the_schema_too(make_site, migrated, vendor):
    site = make_site(vendor)
    site.migrate("migrate", "--run-syncdb", REPROQ_UPGRADE_WITHOUT_MIGRATIONS="1")
    assert_raw_inserts_work(site)
    if vendor == "postgres":
        query = """SELECT table_name, column_name, column_default FROM information_schema.columns
                    WHERE table_schema = 'public' AND column_default IS NOT NULL"""
        assert set(migrated(vendor).rows(query)) <= set(site.rows(query))


@pytest.mark.parametrize("shape", SHAPES)
def test_raw_statements_of_others(make_site, shape):
    """An INSERT may leave out what has a default, and a parent may go before its children."""
    site = make_site(shape)
    site.migrate()
    assert_raw_inserts_work(site)
    foreign_keys = "PRAGMA foreign_keys = ON;" if site.vendor == "sqlite" else ""
    site.sql(f"{foreign_keys} DELETE FROM task_runs WHERE result_id = 14;")
    assert site.rows("SELECT parent_id FROM task_runs WHERE result_id = 18") == [(None,)]


@pytest.mark.parametrize("shape", [*SHAPES, *OWN, "postgres", "sqlite"])
def test_a_second_migrate_changes_nothing(migrated, shape):
    site = migrated(shape)
    before = site.shape(), site.contents()
    site.migrate()
    assert (site.shape(), site.contents()) == before
    # Not even when the SQL itself runs again, as `migrate-worker` lets it.
    site.migrate(
        "shell",
        "-v",
        "0",
        "-c",
        "from django.db import connection; from reproq_django.schema import *; apply_schema(connection)",
    )
    assert (site.shape(), site.contents()) == before


def test_ids_of_deleted_runs_are_not_given_out_again(make_site):
    site = make_site("made_by_django.sqlite")
    site.sql("DELETE FROM task_runs WHERE result_id > 15")
    site.migrate()
    site.sql("INSERT INTO task_runs (spec_json, spec_hash, task_path) VALUES ('{}', 'h', 'a.b')")
    assert site.rows("SELECT result_id FROM task_runs WHERE spec_hash = 'h'") == [(20,)]


EVERYTHING = {
    "postgres": """
        SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
         WHERE nspname = 'public' AND relname NOT LIKE 'django!_%' ESCAPE '!'
        UNION ALL
        SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public'
        UNION ALL
        SELECT typname FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace
         WHERE nspname = 'public' AND typname NOT LIKE '%django!_%' ESCAPE '!'""",
    "sqlite": """
        SELECT name FROM sqlite_master
         WHERE name NOT LIKE 'django!_%' ESCAPE '!' AND name <> 'sqlite_sequence'""",
}


@pytest.mark.parametrize("shape", ["postgres", "sqlite", *OWN])
def test_zero_leaves_nothing_and_back_brings_all(make_site, shape):
    site = make_site(shape)
    site.migrate()
    before = site.shape()
    assert len(site.rows(EVERYTHING[site.vendor])) > 20
    site.migrate("migrate", "reproq_django", "zero")
    assert site.rows(EVERYTHING[site.vendor]) == []
    site.migrate()
    assert site.shape() == before


@pytest.mark.parametrize("vendor", ["postgres", "sqlite"])
def test_a_newer_schema_is_left_alone(make_site, vendor):
    site = make_site(vendor)
    site.migrate()
    site.sql("UPDATE reproq_meta SET value = '999' WHERE key = 'schema_version'")
    with pytest.raises(AssertionError, match="schema 999"):
        site.migrate()


def test_no_migration_is_missing(migrated):
    assert "No changes" in migrated("sqlite").migrate("makemigrations", "--check", "--dry-run")
