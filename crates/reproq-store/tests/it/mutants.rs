//! Checks that cannot fail prove nothing. Here the database is broken on purpose, and the checks of the other files must say so:
//! the sequences of `sequences`, the witness of `race`, the unique indexes. tools/mutants.py breaks the statements themselves.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::test_runner::Config;

use crate::database::{Database, Side};
use crate::race::{LIMITED, LOCKED, empty_at_once, hammer};
use crate::sequences::{runtime, try_sequences};
use crate::together::all_together;
use tokio::runtime::Runtime;

/// What the check said when it failed; None: it noticed nothing.
fn said_by(check: impl FnOnce()) -> Option<String> {
    let said = catch_unwind(AssertUnwindSafe(check)).err()?;
    let text = said.downcast_ref::<String>().cloned();
    Some(text.or_else(|| said.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}

/// A mistake in the schema, as SQL for SQLite and for PostgreSQL.
struct Mistake {
    what: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

const MISTAKES: [Mistake; 9] = [
    Mistake {
        what: "an epoch that does not rise",
        sqlite: "CREATE TRIGGER m AFTER UPDATE OF epoch ON task_runs BEGIN UPDATE task_runs SET epoch = OLD.epoch WHERE result_id = NEW.result_id; END",
        postgres: "CREATE FUNCTION m() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN NEW.epoch := OLD.epoch; RETURN NEW; END $$; \
            CREATE TRIGGER m BEFORE UPDATE OF epoch ON task_runs FOR EACH ROW EXECUTE FUNCTION m()",
    },
    Mistake {
        what: "an ending that keeps its slot",
        sqlite: "CREATE TRIGGER m AFTER UPDATE OF slot_no ON task_runs WHEN OLD.status = 'RUNNING' AND NEW.status <> 'RUNNING' \
            BEGIN UPDATE task_runs SET slot_no = OLD.slot_no WHERE result_id = NEW.result_id; END",
        postgres: "CREATE FUNCTION m() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN NEW.slot_no := OLD.slot_no; RETURN NEW; END $$; \
            CREATE TRIGGER m BEFORE UPDATE ON task_runs FOR EACH ROW WHEN (OLD.status = 'RUNNING' AND NEW.status <> 'RUNNING') EXECUTE FUNCTION m()",
    },
    Mistake {
        what: "runs that hold neither lock nor slot",
        sqlite: "CREATE TRIGGER m AFTER UPDATE OF slot_no ON task_runs BEGIN UPDATE task_runs SET slot_no = NULL WHERE result_id = NEW.result_id; END",
        postgres: "CREATE FUNCTION m() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN NEW.slot_no := NULL; RETURN NEW; END $$; \
            CREATE TRIGGER m BEFORE UPDATE OF slot_no ON task_runs FOR EACH ROW EXECUTE FUNCTION m()",
    },
    Mistake {
        what: "rates that are not used up",
        sqlite: "CREATE TRIGGER m AFTER UPDATE OF tat ON rate_limits BEGIN UPDATE rate_limits SET tat = NULL WHERE key = NEW.key; END; \
            CREATE TRIGGER n AFTER INSERT ON rate_limits BEGIN UPDATE rate_limits SET tat = NULL WHERE key = NEW.key; END",
        postgres: "CREATE FUNCTION m() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN NEW.tat := NULL; RETURN NEW; END $$; \
            CREATE TRIGGER zz BEFORE INSERT OR UPDATE ON rate_limits FOR EACH ROW EXECUTE FUNCTION m()",
    },
    Mistake {
        what: "queues that nothing can pause",
        sqlite: "DROP VIEW reproq_paused_queues; CREATE VIEW reproq_paused_queues AS SELECT queue_name FROM reproq_queue_controls WHERE FALSE",
        postgres: "CREATE OR REPLACE VIEW reproq_paused_queues AS SELECT queue_name, paused_at, reason, resume_at FROM reproq_queue_controls WHERE FALSE",
    },
    Mistake {
        what: "queues whose starts nobody counts",
        sqlite: "DROP VIEW reproq_limited_queues; CREATE VIEW reproq_limited_queues AS SELECT '' AS queue_name WHERE FALSE",
        postgres: "CREATE OR REPLACE VIEW reproq_limited_queues AS SELECT ''::text AS queue_name WHERE FALSE",
    },
    Mistake {
        what: "active twins that are not unique",
        sqlite: "DROP INDEX reproq_task_runs_dedup_active",
        postgres: "DROP INDEX reproq_task_runs_dedup_active",
    },
    Mistake {
        what: "retries that get no lane",
        sqlite: "DROP TRIGGER reproq_task_runs_update_lane",
        postgres: "DROP TRIGGER reproq_task_runs_update_lane ON task_runs",
    },
    Mistake {
        what: "limits that nobody remembers",
        sqlite: "DROP TRIGGER reproq_task_runs_state_limit",
        postgres: "DROP TRIGGER reproq_task_runs_state_limits ON task_runs",
    },
];

fn sequences_notice(new: impl AsyncFn() -> Database) {
    let runtime = runtime();
    for mistake in &MISTAKES {
        let db = runtime.block_on(new());
        runtime.block_on(db.execute(if db.is_postgres() { mistake.postgres } else { mistake.sqlite }));
        let config =
            Config { cases: 150, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
        assert!(try_sequences(&runtime, &db, config).is_err(), "nobody noticed {}", mistake.what);
    }
}

#[test]
fn in_sqlite_the_sequences_notice_a_broken_schema() {
    sequences_notice(Database::sqlite);
}

#[test]
fn in_postgres_the_sequences_notice_a_broken_schema() {
    sequences_notice(Database::postgres);
}

#[test]
fn many_at_once_notice_a_broken_schema() {
    let runtime = runtime();
    for mistake in
        MISTAKES.iter().filter(|mistake| mistake.what.contains("rates") || mistake.what.contains("hold"))
    {
        let noticed = (0..4).any(|seed| {
            let db = runtime.block_on(Database::postgres());
            runtime.block_on(db.execute(mistake.postgres));
            said_by(|| drop(runtime.block_on(all_together(db, seed, 250)))).is_some()
        });
        assert!(noticed, "nobody noticed {}", mistake.what);
    }
}

const BY_INDEX: &str = "DROP INDEX reproq_task_runs_lock; DROP INDEX reproq_task_runs_slot";

/// PostgreSQL whose claimers believe that they have locked a key, whoever else has. SQLite's have nothing to lock.
async fn without_locks() -> Database {
    let db = Database::postgres().await;
    let name = db.text("SELECT current_database()").await.unwrap();
    db.execute(&format!(
        "CREATE SCHEMA broken; \
         CREATE FUNCTION broken.pg_try_advisory_xact_lock(bigint) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT TRUE'; \
         ALTER DATABASE {name} SET search_path = broken, public, pg_catalog"
    ))
    .await;
    db
}

/// Runs the race of race.rs over these keys.
fn race(runtime: &Runtime, db: &Database, (columns, values): (&str, &str), limit: usize) -> Option<String> {
    said_by(|| {
        runtime.block_on(async {
            db.insert_many(1200, columns, values).await;
            hammer(db, 1200, limit).await;
        });
    })
}

#[test]
fn claimers_that_lock_nothing_are_refused_by_the_unique_indexes() {
    let runtime = runtime();
    for (keys, limit, index) in [(LOCKED, 1, "reproq_task_runs_lock"), (LIMITED, 3, "reproq_task_runs_slot")]
    {
        let db = runtime.block_on(without_locks());
        let said = race(&runtime, &db, keys, limit).expect("two claimers that want the same");
        assert!(said.contains(index), "{said}");
    }
}

#[test]
fn the_witness_sees_what_happens_without_locks_and_indexes() {
    let runtime = runtime();
    for (keys, limit) in [(LOCKED, 1), (LIMITED, 3)] {
        let db = runtime.block_on(without_locks());
        runtime.block_on(db.execute(BY_INDEX));
        let said = race(&runtime, &db, keys, limit).expect("two claimers that have the same");
        assert!(said.contains(&format!("{} hold k", limit + 1)), "{said}");
    }
}

#[test]
fn the_locks_alone_are_enough() {
    let runtime = runtime();
    for (keys, limit) in [(LOCKED, 1), (LIMITED, 3)] {
        let db = runtime.block_on(Database::postgres());
        runtime.block_on(db.execute(BY_INDEX));
        assert_eq!(race(&runtime, &db, keys, limit), None);
    }
}

/// How a second claimer looks at the keys that it has locked.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    /// Before it locked them.
    Before,
    /// After, within a snapshot that is older.
    SameSnapshot,
    /// After, and anew.
    Anew,
}

/// Two claimers, each of whom looks, locks, and takes a run of the key that nobody holds as far as it has seen. The second one
/// begins before the first one's commit. Returns how many hold the lock.
async fn two_claimers(db: &Database, look: Look) -> Result<i64, sqlx::Error> {
    const HELD: &str = "SELECT count(*) FROM task_runs WHERE lock_key = 'k' AND status = 'RUNNING'";
    const LOCK: &str = "SELECT pg_try_advisory_xact_lock(hashtextextended('reproq:lock:k', 0))";
    db.insert_many(2, "lock_key", "'k'").await;
    let (mut first, mut second) = (db.another_side().await, db.another_side().await);
    let isolation = if look == Look::SameSnapshot { "REPEATABLE READ" } else { "READ COMMITTED" };
    for side in [&mut first, &mut second] {
        side.rows(&format!("BEGIN ISOLATION LEVEL {isolation}")).await?;
    }
    let (before, seen) = (holders(&mut first, HELD).await?, holders(&mut second, HELD).await?);
    first.rows(LOCK).await?;
    take(&mut first, before, 1).await?;
    first.rows("COMMIT").await?;
    assert_eq!(second.rows(LOCK).await?[0][0].as_deref(), Some("t"), "the first has let go");
    let seen = if look == Look::Before { seen } else { holders(&mut second, HELD).await? };
    take(&mut second, seen, 2).await?;
    second.rows("COMMIT").await?;
    Ok(db.number(HELD).await)
}

async fn holders(side: &mut Side, sql: &str) -> Result<i64, sqlx::Error> {
    Ok(side.rows(sql).await?[0][0].as_ref().unwrap().parse().unwrap())
}

async fn take(side: &mut Side, held: i64, run: i64) -> Result<(), sqlx::Error> {
    let sql = format!(
        "UPDATE task_runs SET status = 'RUNNING', slot_no = -1 WHERE result_id = {run} AND status = 'READY' AND {held} = 0"
    );
    side.rows(&sql).await.map(drop)
}

#[tokio::test]
async fn facts_that_are_older_than_the_lock_give_it_to_two() {
    for look in [Look::Before, Look::SameSnapshot] {
        let db = Database::postgres().await;
        let refused = two_claimers(&db, look).await.unwrap_err();
        assert!(refused.to_string().contains("reproq_task_runs_lock"), "{refused}");
        let db = Database::postgres().await;
        db.execute(BY_INDEX).await;
        assert_eq!(two_claimers(&db, look).await.unwrap(), 2, "what the index is there for");
    }
    let db = Database::postgres().await;
    db.execute(BY_INDEX).await;
    assert_eq!(two_claimers(&db, Look::Anew).await.unwrap(), 1, "what the claim does");
}

/// A site may have made another isolation the default of its database.
#[test]
fn no_default_isolation_makes_claims_inexact_or_fail() {
    let runtime = runtime();
    for isolation in ["repeatable read", "serializable"] {
        let db = runtime.block_on(async {
            let db = Database::postgres().await;
            let name = db.text("SELECT current_database()").await.unwrap();
            db.execute(&format!("ALTER DATABASE {name} SET default_transaction_isolation = '{isolation}'"))
                .await;
            db.execute(BY_INDEX).await;
            db
        });
        for (keys, limit) in [(LOCKED, 1), (LIMITED, 3)] {
            assert_eq!(race(&runtime, &db, keys, limit), None, "{isolation}");
            runtime.block_on(db.execute("DELETE FROM task_runs"));
        }
        let said = said_by(|| runtime.block_on(empty_at_once(&db, 1000)));
        assert_eq!(said, None, "{isolation}");
    }
}
